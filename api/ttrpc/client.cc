#include "api/ttrpc/client.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <map>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "api/ttrpc/connection.h"
#include "api/ttrpc/frame.h"
#include "runtime/sys/status.h"

namespace gantry::ttrpc {
namespace {

constexpr uint32_t kLastStream = std::numeric_limits<uint32_t>::max() - 2;

// `status` as UNAVAILABLE, its errno kept.
absl::Status Unavailable(const absl::Status& status) {
  absl::Status result(absl::StatusCode::kUnavailable, status.message());
  status.ForEachPayload(
      [&](absl::string_view url, const absl::Cord& payload) { result.SetPayload(url, payload); });
  return result;
}

absl::StatusOr<sockaddr_un> ParseAddress(absl::string_view address) {
  absl::string_view path = address;
  if (!absl::ConsumePrefix(&path, "unix://")) absl::ConsumePrefix(&path, "ttrpc+unix://");
  sockaddr_un result = {};
  result.sun_family = AF_UNIX;
  if (path.empty() || path.front() != '/') {
    return absl::InvalidArgumentError(
        absl::StrCat("ttrpc address \"", address, "\": must be unix:// and an absolute path"));
  }
  if (path.size() >= sizeof(result.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("ttrpc address \"", address, "\": the path has ",
                                                   path.size(), " bytes, a socket's may have ",
                                                   sizeof(result.sun_path) - 1));
  }
  memcpy(result.sun_path, path.data(), path.size());
  return result;
}

}  // namespace

struct Client::State : std::enable_shared_from_this<Client::State> {
  struct Pending {
    Callback callback;
    sys::EventLoop::TimerId timer = 0;  // 0: no deadline
  };

  void Call(Request request, absl::Duration timeout, Callback callback);
  // Takes the call out and gives it `answer`.
  void Finish(uint32_t stream, absl::StatusOr<std::string> answer);
  // The same from the loop's next turn, for a call that was never sent.
  void Refuse(Callback callback, absl::Status status);
  void OnFrame(Frame frame);
  void OnClosed(absl::Status reason);

  sys::EventLoop* loop = nullptr;
  std::shared_ptr<Connection> connection;
  uint32_t next_stream = 1;
  std::map<uint32_t, Pending> pending;
  absl::AnyInvocable<void(absl::Status)> on_close;
};

void Client::State::Refuse(Callback callback, absl::Status status) {
  loop->RunAfter(absl::ZeroDuration(), [weak = weak_from_this(), callback = std::move(callback),
                                        status = std::move(status)]() mutable {
    if (auto self = weak.lock()) callback(std::move(status));
  });
}

void Client::State::Call(Request request, absl::Duration timeout, Callback callback) {
  if (connection->closed()) return Refuse(std::move(callback), absl::UnavailableError("ttrpc: closed"));
  if (timeout <= absl::ZeroDuration()) {
    return Refuse(std::move(callback),
                  absl::DeadlineExceededError("ttrpc: the deadline was over before the call"));
  }
  if (timeout != absl::InfiniteDuration()) request.timeout_nanos = absl::ToInt64Nanoseconds(timeout);
  const std::string encoded = EncodeRequest(request);
  if (encoded.size() > kMaxDataBytes) {
    return Refuse(std::move(callback), absl::ResourceExhaustedError(
                                           absl::StrCat("ttrpc: a request of ", encoded.size(),
                                                        " bytes; at most ", kMaxDataBytes, " are allowed")));
  }
  if (connection->queued_bytes() + encoded.size() > kMaxQueueBytes || next_stream > kLastStream) {
    return Refuse(
        std::move(callback),
        absl::ResourceExhaustedError(
            next_stream > kLastStream
                ? "ttrpc: the connection's stream ids are used up: connect again"
                : absl::StrCat("ttrpc: ", connection->queued_bytes(), " bytes wait for the server")));
  }
  const uint32_t stream = std::exchange(next_stream, next_stream + 2);
  Pending& call = pending[stream];
  call.callback = std::move(callback);
  if (timeout != absl::InfiniteDuration()) {
    call.timer = loop->RunAfter(timeout, [weak = weak_from_this(), stream, timeout] {
      auto self = weak.lock();
      if (!self) return;
      self->Finish(stream, absl::DeadlineExceededError(
                               absl::StrCat("ttrpc: no answer within ", absl::FormatDuration(timeout))));
    });
  }
  connection->Send(stream, kRequest, 0, encoded);
}

void Client::State::Finish(uint32_t stream, absl::StatusOr<std::string> answer) {
  auto call = pending.extract(stream);
  if (call.empty()) return;  // late, or the server made the stream up
  if (call.mapped().timer != 0) loop->Cancel(call.mapped().timer);
  call.mapped().callback(std::move(answer));
}

void Client::State::OnFrame(Frame frame) {
  if (frame.oversized_bytes != 0) {
    return Finish(frame.stream, absl::ResourceExhaustedError(
                                    absl::StrCat("ttrpc: an answer of ", frame.oversized_bytes,
                                                 " bytes; at most ", kMaxDataBytes, " are allowed")));
  }
  if (frame.type == kData) {
    return Finish(frame.stream,
                  absl::InternalError("ttrpc: the server sent a stream where one answer is due"));
  }
  if (frame.type != kResponse) return;
  absl::StatusOr<Response> response = ParseResponse(frame.data);
  if (!response.ok()) return Finish(frame.stream, absl::InternalError(response.status().message()));
  if (!response->status.ok()) return Finish(frame.stream, std::move(response->status));
  Finish(frame.stream, std::move(response->payload));
}

void Client::State::OnClosed(absl::Status reason) {
  const auto self = shared_from_this();  // a callback may destroy the client
  const absl::Status closed = Unavailable(reason);
  while (!pending.empty()) Finish(pending.begin()->first, closed);
  if (auto callback = std::exchange(on_close, nullptr)) callback(std::move(reason));
}

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(sys::EventLoop* loop, absl::string_view address) {
  GANTRY_ASSIGN_OR_RETURN(const sockaddr_un target, ParseAddress(address));
  sys::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return sys::ErrnoStatus("socket", "AF_UNIX");
  // A unix socket connects at once or not at all.
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&target), sizeof(target)) != 0) {
    return Unavailable(sys::ErrnoStatus("connect", address));
  }
  return FromFd(loop, std::move(fd));
}

absl::StatusOr<std::unique_ptr<Client>> Client::FromFd(sys::EventLoop* loop, sys::UniqueFd connection) {
  auto state = std::make_shared<State>();
  state->loop = loop;
  Connection::Callbacks callbacks;
  callbacks.on_frame = [weak = std::weak_ptr<State>(state)](Frame frame) {
    if (auto self = weak.lock()) self->OnFrame(std::move(frame));
  };
  callbacks.on_close = [weak = std::weak_ptr<State>(state)](absl::Status reason) {
    if (auto self = weak.lock()) self->OnClosed(std::move(reason));
  };
  constexpr size_t kNoPause = std::numeric_limits<size_t>::max();
  GANTRY_ASSIGN_OR_RETURN(
      state->connection,
      Connection::Start(loop, std::move(connection),
                        {.pause_above_bytes = kNoPause, .max_queue_bytes = kMaxQueueBytes + kMaxDataBytes},
                        std::move(callbacks)));
  return std::unique_ptr<Client>(new Client(std::move(state)));
}

Client::Client(std::shared_ptr<State> state) : state_(std::move(state)) {}

Client::~Client() {
  state_->connection->Close();
  auto dropped = std::exchange(state_->pending, {});
  state_->on_close = nullptr;
  for (auto& [stream, call] : dropped) {
    if (call.timer != 0) state_->loop->Cancel(call.timer);
  }
}

void Client::Call(absl::string_view service, absl::string_view method, std::string payload,
                  absl::Duration timeout, Callback callback) {
  Call(service, method, std::move(payload), timeout, {}, std::move(callback));
}

void Client::Call(absl::string_view service, absl::string_view method, std::string payload,
                  absl::Duration timeout, Metadata metadata, Callback callback) {
  state_->Call({.service = std::string(service),
                .method = std::string(method),
                .payload = std::move(payload),
                .metadata = std::move(metadata)},
               timeout, std::move(callback));
}

void Client::OnClose(absl::AnyInvocable<void(absl::Status)> callback) {
  state_->on_close = std::move(callback);
}

void Client::Close() {
  if (state_->connection->closed()) return;
  state_->connection->Close();
  state_->loop->RunAfter(absl::ZeroDuration(), [weak = std::weak_ptr<State>(state_)] {
    if (auto self = weak.lock()) self->OnClosed(absl::UnavailableError("ttrpc: closed"));
  });
}

bool Client::closed() const { return state_->connection->closed(); }
size_t Client::pending() const { return state_->pending.size(); }

}  // namespace gantry::ttrpc
