#include "daemon/services/streaming_service.h"

#include "absl/strings/str_cat.h"
#include "api/any/any.h"
#include "daemon/server/service.h"
#include "google/protobuf/empty.pb.h"
#include "runtime/sys/status.h"

namespace gantry::services {

namespace api = containerd::services::streaming::v1;
using google::protobuf::Any;

// gRPC runs no reaction inside StartRead, StartWrite or Finish; `finished_` keeps a second Finish off.
class StreamingService::Reactor final : public grpc::ServerBidiReactor<Any, Any> {
 public:
  Reactor(StreamingService* service, const absl::StatusOr<server::CallContext>& call) : service_(service) {
    if (!call.ok()) {
      End(call.status());
      return;
    }
    name_.first = call->ns;
    StartRead(&message_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return End(absl::OkStatus());  // the client closed its side
    const auto init = any::Unpack<api::StreamInit>(message_);
    absl::Status status = init.status();
    if (status.ok() && init->id().empty())
      status = absl::InvalidArgumentError("a stream's id cannot be empty");
    if (!status.ok()) return End(status);
    name_.second = init->id();
    if (status = service_->Register(name_, this); !status.ok()) {
      name_.second.clear();
      return End(status);
    }
    any::Pack(google::protobuf::Empty(), &answer_);
    StartWrite(&answer_);
  }
  void OnCancel() override { End(absl::CancelledError("the client went away")); }
  void OnDone() override {
    if (!name_.second.empty()) service_->Unregister(name_, this);
    delete this;
  }

  void End(const absl::Status& status) {
    {
      absl::MutexLock lock(&mutex_);
      if (std::exchange(finished_, true)) return;
    }
    Finish(server::ToGrpcStatus(status));
  }

 private:
  StreamingService* const service_;
  Name name_;
  Any message_, answer_;
  absl::Mutex mutex_;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

grpc::ServerBidiReactor<Any, Any>* StreamingService::Stream(grpc::CallbackServerContext* context) {
  return new Reactor(this, server::ReadCallContext(*context, server::NamespaceRule::kOptional));
}

absl::Status StreamingService::Register(const Name& name, Reactor* reactor) {
  absl::MutexLock lock(&mutex_);
  if (stopped_) return absl::UnavailableError("the daemon is stopping");
  if (!streams_.emplace(name, reactor).second) {
    return absl::AlreadyExistsError(absl::StrCat("stream \"", name.second, "\": already exists"));
  }
  return absl::OkStatus();
}

void StreamingService::Unregister(const Name& name, Reactor* reactor) {
  absl::MutexLock lock(&mutex_);
  const auto it = streams_.find(name);
  if (it != streams_.end() && it->second == reactor) streams_.erase(it);
}

void StreamingService::Stop() {
  // A reactor takes itself out of the map before it goes.
  absl::MutexLock lock(&mutex_);
  stopped_ = true;
  for (const auto& [name, reactor] : streams_) reactor->End(absl::UnavailableError("the daemon is stopping"));
}

}  // namespace gantry::services
