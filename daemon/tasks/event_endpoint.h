// The socket <address>.ttrpc, at which shims hand in their events.
//
// containerd.services.events.ttrpc.v1.Events/Forward: an event is acknowledged once it was distributed, so that a
// shim may forget it. Open to root and to the daemon's own user only. Everything on the loop's thread.
#ifndef GANTRY_DAEMON_TASKS_EVENT_ENDPOINT_H_
#define GANTRY_DAEMON_TASKS_EVENT_ENDPOINT_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "api/proto/containerd/types/event.pb.h"
#include "api/ttrpc/server.h"
#include "runtime/sys/event_loop.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::tasks {

class EventEndpoint {
 public:
  // Takes one event; an error is the shim's answer.
  using OnEvent = std::function<absl::Status(containerd::types::Envelope)>;

  // Serves on the listening `socket` that is bound to `path`, which is unlinked in the end.
  static absl::StatusOr<std::unique_ptr<EventEndpoint>> Start(sys::EventLoop* loop, sys::UniqueFd socket,
                                                              std::string path, OnEvent on_event);
  ~EventEndpoint();
  EventEndpoint(const EventEndpoint&) = delete;
  EventEndpoint& operator=(const EventEndpoint&) = delete;

 private:
  EventEndpoint(sys::EventLoop* loop, std::string path, OnEvent on_event);

  const std::string path_;
  OnEvent on_event_;
  ttrpc::Server server_;
};

}  // namespace gantry::tasks

#endif  // GANTRY_DAEMON_TASKS_EVENT_ENDPOINT_H_
