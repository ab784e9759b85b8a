// containerd.services.streaming.v1.Streaming: streams that a client opens under a name, for other services to take.
//
// The first message of a stream is a StreamInit, which is answered by an Empty once the name is registered in its
// namespace. Then it stays open until its client goes or the daemon stops. Nothing is read from it before somebody takes it:
// a client that sends all the same waits. Those who take streams are transfers, which this daemon does not have yet; the standard
// streams of containers go over the socket of their shim. No stream holds a thread. Thread-safe.
#ifndef GANTRY_DAEMON_SERVICES_STREAMING_SERVICE_H_
#define GANTRY_DAEMON_SERVICES_STREAMING_SERVICE_H_

#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "api/proto/containerd/services/streaming/v1/streaming.grpc.pb.h"

namespace gantry::services {

class StreamingService final : public containerd::services::streaming::v1::Streaming::CallbackService {
 public:
  grpc::ServerBidiReactor<google::protobuf::Any, google::protobuf::Any>* Stream(
      grpc::CallbackServerContext* context) override;

  // Ends all streams with UNAVAILABLE; later ones are refused.
  void Stop();

 private:
  class Reactor;
  using Name = std::pair<std::string, std::string>;  // namespace and id

  // ALREADY_EXISTS; UNAVAILABLE once stopped.
  absl::Status Register(const Name& name, Reactor* reactor);
  void Unregister(const Name& name, Reactor* reactor);

  absl::Mutex mutex_;
  std::map<Name, Reactor*> streams_ ABSL_GUARDED_BY(mutex_);
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace gantry::services

#endif  // GANTRY_DAEMON_SERVICES_STREAMING_SERVICE_H_
