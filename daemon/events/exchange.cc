#include "daemon/events/exchange.h"

#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "daemon/server/identifier.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/status.h"

namespace gantry::events {
namespace {

void SetNow(google::protobuf::Timestamp* timestamp) {
  const int64_t nanos = absl::ToUnixNanos(sys::WallNow());
  timestamp->set_seconds(nanos / 1'000'000'000);
  timestamp->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
}

absl::Time TimeOf(const Envelope& envelope) {
  return absl::FromUnixSeconds(envelope.timestamp().seconds()) +
         absl::Nanoseconds(envelope.timestamp().nanos());
}

}  // namespace

Exchange::Exchange() : born_(sys::WallNow()), news_from_before_(sys::Deadline::After(kNewsFromBefore)) {}

absl::Status ValidateTopic(absl::string_view topic) {
  if (!absl::StartsWith(topic, "/") || topic.size() < 2) {
    return absl::InvalidArgumentError(absl::StrCat("invalid topic \"", absl::CHexEscape(topic.substr(0, 100)),
                                                   "\": it must be '/' and at least one component"));
  }
  for (absl::string_view component : absl::StrSplit(topic.substr(1), '/')) {
    GANTRY_RETURN_IF_ERROR(server::ValidateIdentifier("component of the topic", component));
  }
  return absl::OkStatus();
}

absl::Status Exchange::Publish(absl::string_view ns, absl::string_view topic,
                               const google::protobuf::Message& event) {
  google::protobuf::Any any;
  any.set_type_url(event.GetDescriptor()->full_name());  // bare, as containerd's clients expect it
  event.SerializeToString(any.mutable_value());
  return PublishPacked(ns, topic, std::move(any));
}

absl::Status Exchange::PublishPacked(absl::string_view ns, absl::string_view topic,
                                     google::protobuf::Any event) {
  Envelope envelope;
  SetNow(envelope.mutable_timestamp());
  envelope.set_namespace_(std::string(ns));
  envelope.set_topic(std::string(topic));
  *envelope.mutable_event() = std::move(event);
  return Forward(std::move(envelope));
}

absl::Status Exchange::Forward(Envelope envelope) {
  GANTRY_RETURN_IF_ERROR(server::ValidateIdentifier("namespace of the event", envelope.namespace_()));
  GANTRY_RETURN_IF_ERROR(ValidateTopic(envelope.topic()));
  if (!envelope.has_timestamp() ||
      (envelope.timestamp().seconds() == 0 && envelope.timestamp().nanos() == 0)) {
    return absl::InvalidArgumentError("a forwarded event must have a timestamp");
  }
  Distribute(std::make_shared<const Envelope>(std::move(envelope)));
  return absl::OkStatus();
}

void Exchange::Distribute(std::shared_ptr<const Envelope> envelope) {
  absl::MutexLock lock(&mutex_);
  if (news_from_before_.Passed()) {
    kept_.clear();
  } else if (TimeOf(*envelope) < born_ && kept_.size() < kMaxKept) {
    kept_.push_back(envelope);
  }
  for (auto it = subscribers_.begin(); it != subscribers_.end();) {
    const Subscriber& subscriber = it->second;
    const bool wanted = !subscriber.matcher || subscriber.matcher(*envelope);
    it = wanted && !subscriber.sink(envelope) ? subscribers_.erase(it) : std::next(it);
  }
}

Exchange::SubscriptionId Exchange::Subscribe(Matcher matcher, Sink sink) {
  absl::MutexLock lock(&mutex_);
  const SubscriptionId id = next_++;
  if (news_from_before_.Passed()) kept_.clear();
  for (const auto& envelope : kept_) {
    if ((!matcher || matcher(*envelope)) && !sink(envelope)) return id;
  }
  subscribers_.emplace(id, Subscriber{std::move(matcher), std::move(sink)});
  return id;
}

void Exchange::Unsubscribe(SubscriptionId id) {
  Subscriber dropped;  // its captures are destroyed outside the lock
  absl::MutexLock lock(&mutex_);
  const auto it = subscribers_.find(id);
  if (it == subscribers_.end()) return;
  dropped = std::move(it->second);
  subscribers_.erase(it);
}

size_t Exchange::subscribers() const {
  absl::MutexLock lock(&mutex_);
  return subscribers_.size();
}

}  // namespace gantry::events
