// The exchange: whatever happens is published here once, and reaches every subscriber whose matcher wants it.
//
//   exchange.Publish("default", "/containers/create", event);
//
// Order: all subscribers see the events in one and the same order, the order of the Publish and Forward
// calls. A subscriber must be quick and must not call the exchange; one that cannot keep up ends itself (the
// gRPC service's queue is bounded), so a laggard never holds a publisher.
//
// News from before. What a shim forwards from the time when no daemon ran (an exit, say) comes as soon as the daemon
// is back, while its clients are still finding that out. Such events, older than the exchange, are kept for
// kNewsFromBefore (at most kMaxKept of them) and given to each subscriber that comes meanwhile, before anything else:
// it sees each of them once.
//
// Thread-safe.
#ifndef GANTRY_DAEMON_EVENTS_EXCHANGE_H_
#define GANTRY_DAEMON_EVENTS_EXCHANGE_H_

#include <google/protobuf/message.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "api/proto/containerd/types/event.pb.h"
#include "runtime/sys/clock.h"

namespace gantry::events {

using containerd::types::Envelope;

// What the services depend on: the right to publish.
class Publisher {
 public:
  virtual ~Publisher() = default;

  // Wraps `event` (one of containerd.events.*) into an envelope with the time of now. INVALID_ARGUMENT for a
  // namespace or topic that breaks the rules below; nothing was sent then. To be called after the change it
  // tells of is durable.
  virtual absl::Status Publish(absl::string_view ns, absl::string_view topic,
                               const google::protobuf::Message& event) = 0;
};

// A topic is '/' and one or more identifiers (server/identifier.h) with '/' between them.
absl::Status ValidateTopic(absl::string_view topic);

inline constexpr absl::Duration kNewsFromBefore =
    absl::Seconds(30);  // a client's back-off may reach half of that
inline constexpr size_t kMaxKept = 4096;

class Exchange final : public Publisher {
 public:
  Exchange();

  absl::Status Publish(absl::string_view ns, absl::string_view topic,
                       const google::protobuf::Message& event) override;

  // The same for an event that was packed by a client.
  absl::Status PublishPacked(absl::string_view ns, absl::string_view topic, google::protobuf::Any event);

  // Distributes an envelope as it is, on behalf of another publisher (a shim). INVALID_ARGUMENT for a bad
  // namespace or topic, or one without a timestamp.
  absl::Status Forward(Envelope envelope);

  // Both are called under the exchange's lock: they must be quick, and must not call the exchange. An empty
  // matcher wants everything. A sink that returns false is dropped and not called again.
  using Matcher = std::function<bool(const Envelope&)>;
  using Sink = std::function<bool(std::shared_ptr<const Envelope>)>;
  using SubscriptionId = uint64_t;
  SubscriptionId Subscribe(Matcher matcher, Sink sink);
  // After return the sink is not called any more. Unknown ids are ignored.
  void Unsubscribe(SubscriptionId id);

  size_t subscribers() const;

 private:
  struct Subscriber {
    Matcher matcher;
    Sink sink;
  };
  void Distribute(std::shared_ptr<const Envelope> envelope);

  const absl::Time born_;  // on the wall clock, as the timestamps of events are
  const sys::Deadline news_from_before_;
  mutable absl::Mutex mutex_;
  std::vector<std::shared_ptr<const Envelope>> kept_ ABSL_GUARDED_BY(mutex_);
  std::map<SubscriptionId, Subscriber> subscribers_ ABSL_GUARDED_BY(mutex_);
  SubscriptionId next_ ABSL_GUARDED_BY(mutex_) = 1;
};

}  // namespace gantry::events

#endif  // GANTRY_DAEMON_EVENTS_EXCHANGE_H_
