#include "shim/publish/publisher.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "api/proto/containerd/services/ttrpc/events/v1/events.pb.h"
#include "runtime/sys/log.h"

namespace gantry::shim {
namespace {

constexpr char kService[] = "containerd.services.events.ttrpc.v1.Events";
constexpr char kMethod[] = "Forward";
constexpr absl::Duration kTimeout = absl::Seconds(5);  // containerd's own
constexpr absl::Duration kFirstPause = absl::Milliseconds(50);
constexpr absl::Duration kLongestPause = absl::Seconds(15);
constexpr size_t kMaxQueued = 1024;
constexpr int kMaxRefusals = 5;

// The daemon did not take the event, rather than refuse it.
bool IsTransport(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) || absl::IsCancelled(status) ||
         absl::IsAborted(status);
}

}  // namespace

Publisher::Publisher(sys::EventLoop* loop, std::string address, std::string namespace_name)
    : loop_(loop),
      address_(absl::StripPrefix(address, "unix://")),
      namespace_(std::move(namespace_name)),
      pause_(kFirstPause) {}

Publisher::~Publisher() {
  if (timer_ != 0) loop_->Cancel(timer_);
}

void Publisher::Publish(absl::string_view topic, absl::string_view type, absl::string_view event,
                        absl::Time when, bool droppable, absl::AnyInvocable<void()> on_told) {
  if (address_.empty()) return;
  if (droppable && queue_.size() >= kMaxQueued) {
    log::Warn("an event was dropped: too many wait for the daemon", {{"topic", std::string(topic)}});
    return;
  }
  containerd::services::events::ttrpc::v1::ForwardRequest request;
  auto* envelope = request.mutable_envelope();
  const absl::Duration since_epoch = when - absl::UnixEpoch();
  envelope->mutable_timestamp()->set_seconds(absl::ToInt64Seconds(since_epoch));
  envelope->mutable_timestamp()->set_nanos(static_cast<int32_t>(
      absl::ToInt64Nanoseconds(since_epoch - absl::Seconds(absl::ToInt64Seconds(since_epoch)))));
  envelope->set_namespace_(namespace_);
  envelope->set_topic(std::string(topic));
  envelope->mutable_event()->set_type_url(std::string(type));
  envelope->mutable_event()->set_value(std::string(event));
  queue_.push_back(Event{request.SerializeAsString(), std::move(on_told)});
  // While a pause runs, the daemon is known to be away.
  if (!in_flight_ && timer_ == 0) Send();
}

void Publisher::Wake() {
  pause_ = kFirstPause;
  if (queue_.empty() || in_flight_) return;
  if (timer_ != 0) loop_->Cancel(std::exchange(timer_, 0));
  Send();
}

void Publisher::Send() {
  if (client_ == nullptr) {
    absl::StatusOr<std::unique_ptr<ttrpc::Client>> client = ttrpc::Client::Connect(loop_, address_);
    if (!client.ok()) return Retry();
    client_ = *std::move(client);
    client_->OnClose([this](absl::Status) { client_.reset(); });
  }
  in_flight_ = true;
  client_->Call(kService, kMethod, queue_.front().request, kTimeout,
                [this](absl::StatusOr<std::string> answer) { OnAnswer(answer.status()); });
}

void Publisher::OnAnswer(absl::Status status) {
  in_flight_ = false;
  if (status.ok()) {
    pause_ = kFirstPause;
    if (auto told = std::move(queue_.front().on_told)) told();
    return Pop();
  }
  if (!IsTransport(status) && ++queue_.front().refusals >= kMaxRefusals) {
    log::Error("an event was dropped: the daemon refuses it", {{"error", std::string(status.message())}});
    return Pop();
  }
  // The old connection may still work, but a new one surely does if the daemon is there.
  client_.reset();
  Retry();
}

void Publisher::Pop() {
  queue_.pop_front();
  if (!queue_.empty()) return Send();
  queue_.shrink_to_fit();
  if (on_idle_) on_idle_();
}

void Publisher::Retry() {
  if (timer_ != 0) return;
  timer_ = loop_->RunAfter(pause_, [this] {
    timer_ = 0;
    if (!queue_.empty() && !in_flight_) Send();
  });
  pause_ = std::min(2 * pause_, kLongestPause);
}

}  // namespace gantry::shim
