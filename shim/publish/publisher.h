// Events to the daemon: containerd.services.events.ttrpc.v1.Events/Forward at TTRPC_ADDRESS.
//
// Events leave in the order in which they were published, one at a time, and an event is kept until the daemon
// has acknowledged it. While the daemon is away they wait: a connection is tried again after a pause that
// doubles, and at once when Wake() tells that the daemon is back. Nothing wakes the loop while the queue is
// empty. The queue is bounded: what comes above is dropped with a warning, exits last of all.
//
// An event may arrive twice (acknowledged, but the acknowledgement was lost), as with containerd's own shims.
// An event that a daemon refuses five times is dropped.
//
// Belongs to the loop's thread.
#ifndef GANTRY_SHIM_PUBLISH_PUBLISHER_H_
#define GANTRY_SHIM_PUBLISH_PUBLISHER_H_

#include <cstddef>
#include <deque>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "api/ttrpc/client.h"
#include "runtime/sys/event_loop.h"

namespace gantry::shim {

class Publisher {
 public:
  // `address`: the path of the daemon's ttrpc socket, with or without "unix://"; empty: events go nowhere.
  Publisher(sys::EventLoop* loop, std::string address, std::string namespace_name);
  ~Publisher();
  Publisher(const Publisher&) = delete;
  Publisher& operator=(const Publisher&) = delete;

  // `topic`: "/tasks/exit"; `type`: the event's full name; `event`: the serialized event. `droppable`: may be
  // lost rather than grow the queue. `on_told` (may be empty) is called when the daemon has acknowledged it, if ever.
  void Publish(absl::string_view topic, absl::string_view type, absl::string_view event, absl::Time when,
               bool droppable, absl::AnyInvocable<void()> on_told = nullptr);

  // The daemon is there: do not wait out the pause.
  void Wake();

  bool idle() const { return queue_.empty(); }
  // Called, each time, when the last event was acknowledged or given up.
  void OnIdle(absl::AnyInvocable<void()> callback) { on_idle_ = std::move(callback); }

 private:
  struct Event {
    std::string request;  // a serialized ForwardRequest
    absl::AnyInvocable<void()> on_told;
    int refusals = 0;
  };

  void Send();
  void OnAnswer(absl::Status status);
  void Retry();
  void Pop();

  sys::EventLoop* const loop_;
  const std::string address_;
  const std::string namespace_;
  std::deque<Event> queue_;
  std::unique_ptr<ttrpc::Client> client_;
  bool in_flight_ = false;
  absl::Duration pause_;
  sys::EventLoop::TimerId timer_ = 0;
  absl::AnyInvocable<void()> on_idle_;
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_PUBLISH_PUBLISHER_H_
