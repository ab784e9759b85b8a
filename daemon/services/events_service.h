// containerd.services.events.v1.Events: publish, forward, subscribe.
//
// A subscriber that does not keep up is cut off with RESOURCE_EXHAUSTED (kQueueLimit); the others see nothing of
// it. Thread-safe.
#ifndef GANTRY_DAEMON_SERVICES_EVENTS_SERVICE_H_
#define GANTRY_DAEMON_SERVICES_EVENTS_SERVICE_H_

#include <cstdint>
#include <map>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "api/proto/containerd/services/events/v1/events.grpc.pb.h"
#include "daemon/events/exchange.h"
#include "daemon/server/service.h"

namespace gantry::services {

class EventsService final : public containerd::services::events::v1::Events::CallbackService {
 public:
  // Events that wait for one subscriber: some 2 MiB. A thousand containers that start at once make 3,000.
  static constexpr size_t kQueueLimit = 8192;

  explicit EventsService(events::Exchange* exchange) : exchange_(exchange) {}

  grpc::ServerUnaryReactor* Publish(grpc::CallbackServerContext* context,
                                    const containerd::services::events::v1::PublishRequest* request,
                                    google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* Forward(grpc::CallbackServerContext* context,
                                    const containerd::services::events::v1::ForwardRequest* request,
                                    google::protobuf::Empty* response) override;
  grpc::ServerWriteReactor<containerd::types::Envelope>* Subscribe(
      grpc::CallbackServerContext* context,
      const containerd::services::events::v1::SubscribeRequest* request) override;

  // Ends all subscriptions, present and future, with UNAVAILABLE: the daemon goes.
  void Stop();

 private:
  using Stream = server::PushStream<containerd::types::Envelope>;

  events::Exchange* const exchange_;
  absl::Mutex mutex_;
  std::map<uint64_t, std::weak_ptr<Stream>> streams_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_ ABSL_GUARDED_BY(mutex_) = 1;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace gantry::services

#endif  // GANTRY_DAEMON_SERVICES_EVENTS_SERVICE_H_
