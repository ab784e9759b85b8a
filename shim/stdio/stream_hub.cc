#include "shim/stdio/stream_hub.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "api/any/any.h"
#include "api/proto/containerd/services/streaming/v1/streaming.pb.h"
#include "api/proto/containerd/types/transfer/streaming.pb.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/empty.pb.h"
#include "runtime/sys/status.h"

namespace gantry::shim {
namespace {

using containerd::types::transfer::Data;
using containerd::types::transfer::WindowUpdate;

// containerd's own sizes: a message, and what may be under way.
constexpr size_t kMessageBytes = 32 << 10;
constexpr int64_t kWindowBytes = 2 * kMessageBytes;
constexpr int64_t kMostWindow = 1 << 30;

// Shared by all, as they take turns.
char buffer[kMessageBytes];

template <typename Message>
void Send(ttrpc::ServerStream* client, const Message& message) {
  google::protobuf::Any any;
  any::Pack(message, &any);
  client->Send(any.SerializeAsString());
}

}  // namespace

// ---- the hub ---------------------------------------------------------------------------------------------

void StreamHub::RegisterWith(ttrpc::Server* server) {
  server->RegisterStream("containerd.services.streaming.v1.Streaming", "Stream",
                         [this](const ttrpc::CallInfo&, std::shared_ptr<ttrpc::ServerStream> stream) {
                           OnStream(std::move(stream));
                         });
}

void StreamHub::OnStream(std::shared_ptr<ttrpc::ServerStream> stream) {
  ttrpc::ServerStream* const raw = stream.get();
  auto id = std::make_shared<std::string>();
  ttrpc::ServerStream::Events events;
  events.on_message = [this, id, raw](std::string message) {
    if (!id->empty()) return OnMessage(*id, message);
    if (absl::Status status = OnInit(raw->shared_from_this(), message, id.get()); !status.ok()) {
      raw->Finish(status);
    }
  };
  events.on_half_close = [this, id, raw] {
    const auto slot = slots_.find(*id);
    if (slot == slots_.end()) return raw->Finish(absl::OkStatus());
    if (slot->second.end != nullptr) slot->second.end->OnHalfClose();
  };
  events.on_end = [this, id] { OnGone(*id); };
  stream->Listen(std::move(events));
}

absl::Status StreamHub::OnInit(const std::shared_ptr<ttrpc::ServerStream>& stream, absl::string_view message,
                               std::string* id) {
  google::protobuf::Any any;
  if (!any.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
    return absl::InvalidArgumentError("the message is no google.protobuf.Any");
  }
  GANTRY_ASSIGN_OR_RETURN(const auto init, any::Unpack<containerd::services::streaming::v1::StreamInit>(any));
  if (init.id().empty()) return absl::InvalidArgumentError("a stream's id cannot be empty");
  Slot& slot = slots_[init.id()];
  if (slot.client != nullptr) {
    return absl::AlreadyExistsError(absl::StrCat("stream ", init.id(), " has a client"));
  }
  *id = init.id();
  slot.client = stream;
  Send(stream.get(), google::protobuf::Empty());
  if (slot.end != nullptr) slot.end->Attach(stream);
  return absl::OkStatus();
}

void StreamHub::OnMessage(const std::string& id, absl::string_view message) {
  const auto slot = slots_.find(id);
  if (slot == slots_.end() || slot->second.end == nullptr) {
    if (slot == slots_.end()) return;
    // It may send only what it was allowed to: windows. They are told again when a process has the other end.
    google::protobuf::Any any;
    WindowUpdate update;
    if (any.ParseFromArray(message.data(), static_cast<int>(message.size())) && any::Is<WindowUpdate>(any) &&
        update.ParseFromString(any.value())) {
      slot->second.early_window =
          std::min(slot->second.early_window + std::max(update.update(), 0), kMostWindow);
    }
    return;
  }
  google::protobuf::Any any;
  if (!any.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
    return slot->second.client->Finish(absl::InvalidArgumentError("the message is no google.protobuf.Any"));
  }
  slot->second.end->OnMessage(any::BareName(any.type_url()), any.value());
}

void StreamHub::OnGone(const std::string& id) {
  const auto slot = slots_.find(id);
  if (slot == slots_.end()) return;
  slot->second.client.reset();
  slot->second.early_window = 0;
  if (slot->second.end != nullptr) return slot->second.end->OnClientGone();
  slots_.erase(slot);
}

absl::Status StreamHub::Claim(const std::string& id, StreamEnd* end) {
  Slot& slot = slots_[id];
  if (slot.end != nullptr) return absl::AlreadyExistsError(absl::StrCat("stream ", id, " has a process"));
  slot.end = end;
  if (slot.client == nullptr) return absl::OkStatus();
  end->Attach(slot.client);
  if (slot.early_window > 0) {
    WindowUpdate update;
    update.set_update(static_cast<int32_t>(std::exchange(slot.early_window, 0)));
    end->OnMessage(update.GetTypeName(), update.SerializeAsString());
  }
  if (slot.client->half_closed()) end->OnHalfClose();
  return absl::OkStatus();
}

void StreamHub::Release(const std::string& id) {
  const auto slot = slots_.find(id);
  if (slot == slots_.end()) return;
  const std::shared_ptr<ttrpc::ServerStream> client = std::move(slot->second.client);
  slots_.erase(slot);
  if (client != nullptr) client->Finish(absl::OkStatus());
}

void StreamHub::FinishUnclaimed() {
  std::vector<std::shared_ptr<ttrpc::ServerStream>> clients;
  for (auto& [id, slot] : slots_) {
    if (slot.end == nullptr && slot.client != nullptr) clients.push_back(slot.client);
  }
  std::erase_if(slots_, [](const auto& slot) { return slot.second.end == nullptr; });
  for (const auto& client : clients) client->Finish(absl::OkStatus());
}

void StreamHub::Drop(const std::string& id) {
  if (const auto slot = slots_.find(id); slot != slots_.end()) slot->second.client.reset();
}

// ---- output ----------------------------------------------------------------------------------------------

StreamOutput::StreamOutput(StreamHub* hub, std::string id, sys::UniqueFd source,
                           absl::AnyInvocable<void()> done)
    : hub_(hub), id_(std::move(id)), source_(std::move(source)), done_(std::move(done)) {}

absl::StatusOr<std::unique_ptr<StreamOutput>> StreamOutput::Create(StreamHub* hub, const std::string& id,
                                                                   sys::UniqueFd source,
                                                                   absl::AnyInvocable<void()> done) {
  std::unique_ptr<StreamOutput> output(new StreamOutput(hub, id, std::move(source), std::move(done)));
  absl::Status claimed = hub->Claim(id, output.get());
  if (!claimed.ok()) {
    output->ended_ = true;  // the name is another's
    return claimed;
  }
  return output;
}

StreamOutput::~StreamOutput() {
  if (timer_ != 0) hub_->loop()->Cancel(timer_);
  Unwatch();
  if (!ended_) hub_->Release(id_);
}

void StreamOutput::Attach(std::shared_ptr<ttrpc::ServerStream> client) {
  client_ = std::move(client);
  window_ = 0;
  if (timer_ != 0 && !ended_) hub_->loop()->Cancel(std::exchange(timer_, 0));
}

void StreamOutput::OnMessage(absl::string_view type, absl::string_view value) {
  WindowUpdate update;
  if (ended_ || type != update.GetTypeName() ||
      !update.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    return;
  }
  window_ = std::min(window_ + std::max(update.update(), 0), kMostWindow);
  Watch();
}

void StreamOutput::OnClientGone() {
  client_.reset();
  window_ = 0;
  Unwatch();
  if (finishing_) Finish(patience_);
}

void StreamOutput::Watch() {
  if (watching_ || ended_ || client_ == nullptr || window_ == 0) return;
  watching_ = hub_->loop()->Add(source_.get(), EPOLLIN, [this](uint32_t) { Copy(); }).ok();
  if (!watching_) End();
}

void StreamOutput::Unwatch() {
  if (std::exchange(watching_, false)) hub_->loop()->Remove(source_.get());
}

void StreamOutput::Copy() {
  const size_t most = static_cast<size_t>(std::min<int64_t>(window_, sizeof(buffer)));
  const ssize_t size = read(source_.get(), buffer, most);
  if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (size <= 0) return End();
  Data data;
  data.set_data(buffer, static_cast<size_t>(size));
  window_ -= size;
  Send(client_.get(), data);
  if (window_ == 0) Unwatch();
}

void StreamOutput::Finish(absl::Duration patience) {
  finishing_ = true;
  patience_ = patience;
  // A client that allows nothing need not be waited for when there is nothing.
  pollfd source = {source_.get(), POLLIN, 0};
  if (!ended_ && poll(&source, 1, 0) == 1 && (source.revents & (POLLIN | POLLHUP)) == POLLHUP) return End();
  if (ended_ || client_ != nullptr || timer_ != 0) return;
  timer_ = hub_->loop()->RunAfter(patience, [this] {
    timer_ = 0;
    End();
  });
}

void StreamOutput::End() {
  if (std::exchange(ended_, true)) return;
  Unwatch();
  source_.reset();
  client_.reset();
  hub_->Release(id_);
  if (timer_ != 0) hub_->loop()->Cancel(timer_);
  timer_ = hub_->loop()->RunAfter(absl::ZeroDuration(), [this] {
    timer_ = 0;
    // The callback may destroy this.
    auto done = std::move(done_);
    done();
  });
}

// ---- input -----------------------------------------------------------------------------------------------

StreamInput::StreamInput(StreamHub* hub, std::string id, sys::UniqueFd sink)
    : hub_(hub), id_(std::move(id)), sink_(std::move(sink)) {}

absl::StatusOr<std::unique_ptr<StreamInput>> StreamInput::Create(StreamHub* hub, const std::string& id,
                                                                 sys::UniqueFd sink) {
  std::unique_ptr<StreamInput> input(new StreamInput(hub, id, std::move(sink)));
  absl::Status claimed = hub->Claim(id, input.get());
  if (!claimed.ok()) {
    input->sink_.reset();  // the name is another's
    return claimed;
  }
  return input;
}

StreamInput::~StreamInput() { Close(); }

void StreamInput::Close() {
  if (!sink_.valid()) return;
  if (std::exchange(watching_, false)) hub_->loop()->Remove(sink_.get());
  sink_.reset();
  client_.reset();
  hub_->Release(id_);
}

void StreamInput::Attach(std::shared_ptr<ttrpc::ServerStream> client) {
  client_ = std::move(client);
  granted_ = taken_ = 0;
  half_closed_ = false;
  Grant(kWindowBytes - static_cast<int64_t>(pending_.size()));
}

void StreamInput::Grant(int64_t bytes) {
  if (client_ == nullptr || bytes <= 0) return;
  granted_ += bytes;
  WindowUpdate update;
  update.set_update(static_cast<int32_t>(bytes));
  Send(client_.get(), update);
}

void StreamInput::OnMessage(absl::string_view type, absl::string_view value) {
  Data data;
  if (!sink_.valid() || type != data.GetTypeName() ||
      !data.ParseFromArray(value.data(), static_cast<int>(value.size()))) {
    return;
  }
  granted_ -= static_cast<int64_t>(data.data().size());
  if (granted_ < 0) {
    const std::shared_ptr<ttrpc::ServerStream> client = std::move(client_);
    hub_->Drop(id_);
    return client->Finish(absl::ResourceExhaustedError("more data than the window allows"));
  }
  pending_ += data.data();
  if (!watching_) Write();
}

void StreamInput::OnHalfClose() {
  half_closed_ = true;
  if (pending_.empty()) Close();
}

void StreamInput::OnClientGone() {
  client_.reset();
  if (!held_) OnHalfClose();
}

void StreamInput::CloseWithClient() {
  held_ = false;
  if (client_ == nullptr) OnHalfClose();
}

void StreamInput::Write() {
  size_t written = 0;
  bool full = false;
  while (written < pending_.size() && !full) {
    const ssize_t size = write(sink_.get(), pending_.data() + written, pending_.size() - written);
    if (size > 0) {
      written += static_cast<size_t>(size);
    } else if (size < 0 && errno == EAGAIN) {
      full = true;
    } else if (size >= 0 || errno != EINTR) {
      written = pending_.size();  // nobody reads any more: it goes nowhere
    }
  }
  pending_.erase(0, written);
  if (pending_.empty()) pending_ = std::string();
  taken_ += static_cast<int64_t>(written);
  if (taken_ >= kWindowBytes / 2) Grant(std::exchange(taken_, 0));
  if (full && !watching_) {
    watching_ = hub_->loop()->Add(sink_.get(), EPOLLOUT, [this](uint32_t) { Write(); }).ok();
  } else if (!full && std::exchange(watching_, false)) {
    hub_->loop()->Remove(sink_.get());
  }
  if (!full && half_closed_) Close();
}

}  // namespace gantry::shim
