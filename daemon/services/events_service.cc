#include "daemon/services/events_service.h"

#include <list>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/events/fields.h"
#include "daemon/filters/filter.h"

namespace gantry::services {
namespace {

using containerd::services::events::v1::ForwardRequest;
using containerd::services::events::v1::PublishRequest;
using containerd::services::events::v1::SubscribeRequest;
using containerd::types::Envelope;

bool Matches(const filters::Filter& filter, const Envelope& envelope) {
  std::list<std::string> held;  // what the views point to while the filter looks at them
  return filter.Match([&](filters::FieldPath path) -> std::optional<absl::string_view> {
    std::optional<std::string> value =
        events::FieldOf(envelope, std::vector<std::string>(path.begin(), path.end()));
    if (!value) return std::nullopt;
    held.push_back(*std::move(value));
    return absl::string_view(held.back());
  });
}

}  // namespace

grpc::ServerUnaryReactor* EventsService::Publish(grpc::CallbackServerContext* context,
                                                 const PublishRequest* request,
                                                 google::protobuf::Empty* response) {
  return server::RunUnary(
      nullptr, context, server::NamespaceRule::kRequired, request, response,
      [this](const server::CallContext& call, const PublishRequest& request, google::protobuf::Empty*) {
        return exchange_->PublishPacked(call.ns, request.topic(), request.event());
      });
}

grpc::ServerUnaryReactor* EventsService::Forward(grpc::CallbackServerContext* context,
                                                 const ForwardRequest* request,
                                                 google::protobuf::Empty* response) {
  return server::RunUnary(
      nullptr, context, server::NamespaceRule::kOptional, request, response,
      [this](const server::CallContext&, const ForwardRequest& request, google::protobuf::Empty*) {
        return exchange_->Forward(request.envelope());
      });
}

grpc::ServerWriteReactor<Envelope>* EventsService::Subscribe(grpc::CallbackServerContext*,
                                                             const SubscribeRequest* request) {
  // Filled in below; gRPC reports the end only after this method has returned the reactor.
  struct Ids {
    uint64_t stream = 0;
    events::Exchange::SubscriptionId subscription = 0;
  };
  auto ids = std::make_shared<Ids>();
  server::StartedPushStream<Envelope> started = server::StartPushStream<Envelope>(kQueueLimit, [this, ids] {
    exchange_->Unsubscribe(ids->subscription);
    absl::MutexLock lock(&mutex_);
    streams_.erase(ids->stream);
  });
  absl::StatusOr<filters::Filter> filter = filters::Filter::ParseAny(request->filters());
  if (!filter.ok()) {
    started.stream->Close(filter.status());
    return started.reactor;
  }
  {
    absl::MutexLock lock(&mutex_);
    ids->stream = next_++;
    streams_[ids->stream] = started.stream;
    if (stopped_) started.stream->Close(absl::UnavailableError("the daemon is stopping"));
  }
  events::Exchange::Matcher matcher;
  if (!filter->matches_everything()) {
    matcher = [filter = *std::move(filter)](const Envelope& envelope) { return Matches(filter, envelope); };
  }
  ids->subscription = exchange_->Subscribe(
      std::move(matcher), [stream = started.stream](std::shared_ptr<const Envelope> envelope) {
        return stream->Push(std::move(envelope));
      });
  return started.reactor;
}

void EventsService::Stop() {
  std::map<uint64_t, std::weak_ptr<Stream>> streams;
  {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
    streams = streams_;
  }
  for (const auto& [id, weak] : streams) {
    if (const std::shared_ptr<Stream> stream = weak.lock()) {
      stream->Close(absl::UnavailableError("the daemon is stopping"));
    }
  }
}

}  // namespace gantry::services
