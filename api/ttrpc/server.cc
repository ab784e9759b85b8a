#include "api/ttrpc/server.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <list>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "api/ttrpc/connection.h"
#include "api/ttrpc/frame.h"
#include "runtime/sys/status.h"

namespace gantry::ttrpc {
namespace {

constexpr int kAcceptsPerTurn = 16;
// When the process has no descriptor left, accept(2) fails at once, again and again, with the connection kept in
// the backlog; so look again only after a while.
constexpr absl::Duration kAcceptPause = absl::Milliseconds(100);

absl::StatusOr<ucred> PeerOf(int fd) {
  ucred peer = {};
  socklen_t size = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return sys::ErrnoStatus("getsockopt", "SO_PEERCRED");
  }
  return peer;
}

absl::Duration TimeoutOf(const Request& request) {
  return request.timeout_nanos == 0 ? absl::InfiniteDuration() : absl::Nanoseconds(request.timeout_nanos);
}

}  // namespace

absl::string_view MetadataValue(const Metadata& metadata, absl::string_view key) {
  for (const KeyValue& entry : metadata) {
    if (entry.key == key) return entry.value;
  }
  return {};
}

PeerCheck RequireOwnerOrRoot() {
  return [owner = geteuid()](const ucred& peer) -> absl::Status {
    if (peer.uid == 0 || peer.uid == owner) return absl::OkStatus();
    return absl::PermissionDeniedError(
        absl::StrCat("ttrpc: uid ", peer.uid, " may not connect; only 0 and ", owner, " may"));
  };
}

// One connection and its calls.
struct Server::Peer : std::enable_shared_from_this<Server::Peer> {
  Peer(State* server_state, ucred peer_credentials) : state(server_state), credentials(peer_credentials) {}

  void OnFrame(Frame frame);
  void OnRequest(uint32_t stream, absl::string_view bytes);
  void OnData(const Frame& frame);
  void Dispatch(uint32_t stream, Request request);
  void Open(uint32_t stream, Request request, StreamHandler* handler);
  // Takes the stream out of the books.
  std::shared_ptr<ServerStream> TakeStream(uint32_t stream);
  // Answers and forgets the call, if there is one.
  void Answer(uint32_t stream, absl::StatusOr<std::string> result);
  void CancelTimers();

  State* const state;
  const ucred credentials;
  std::shared_ptr<Connection> connection;
  uint32_t last_stream = 0;
  std::map<uint32_t, sys::EventLoop::TimerId> calls;  // timer 0: no deadline
  std::map<uint32_t, std::shared_ptr<ServerStream>> streams;
};

struct Server::State : std::enable_shared_from_this<Server::State> {
  struct Listener {
    sys::UniqueFd fd;
    PeerCheck check;
  };

  void Accept(Listener& listener);
  void PauseAccepting(Listener& listener);
  absl::Status Adopt(sys::UniqueFd fd, const ucred& credentials);
  void Forget(Peer* peer);
  void CloseListeners();
  size_t Calls() const;
  size_t Streams() const;
  bool Quiet() const;
  // Ends a shutdown, from the loop, when nothing is under way.
  void CheckShutdown();
  void FinishShutdown();

  sys::EventLoop* loop;
  std::map<std::string, std::map<std::string, std::shared_ptr<Handler>>> services;
  std::map<std::string, std::map<std::string, std::shared_ptr<StreamHandler>>> stream_services;
  std::list<Listener> listeners;
  std::map<Peer*, std::shared_ptr<Peer>> peers;
  bool shutting_down = false;
  absl::AnyInvocable<void()> done;
  sys::EventLoop::TimerId grace_timer = 0;
};

struct Responder::Call {
  std::weak_ptr<Server::Peer> peer;
  uint32_t stream;
};

Responder::Responder(std::unique_ptr<Call> call) : call_(std::move(call)) {}
Responder::Responder(Responder&&) noexcept = default;

Responder& Responder::operator=(Responder&& other) noexcept {
  Responder old(std::move(*this));
  call_ = std::move(other.call_);
  return *this;
}

Responder::~Responder() {
  if (call_) (*this)(absl::InternalError("ttrpc: the handler gave no answer"));
}

void Responder::operator()(absl::StatusOr<std::string> result) {
  const std::unique_ptr<Call> call = std::move(call_);
  if (!call) return;
  if (auto peer = call->peer.lock()) {
    if (peer->calls.contains(call->stream)) peer->Answer(call->stream, std::move(result));
  }
}

bool Responder::wanted() const {
  if (!call_) return false;
  auto peer = call_->peer.lock();
  return peer && peer->calls.contains(call_->stream);
}

void Server::Peer::OnFrame(Frame frame) {
  if (frame.oversized_bytes != 0) {
    if (const auto stream = TakeStream(frame.stream); stream && stream->events_.on_end) {
      stream->events_.on_end();
    }
    return Answer(frame.stream, absl::ResourceExhaustedError(
                                    absl::StrCat("ttrpc: a message of ", frame.oversized_bytes,
                                                 " bytes; at most ", kMaxDataBytes, " are allowed")));
  }
  if (frame.stream % 2 != 1) {
    return Answer(frame.stream, absl::InvalidArgumentError(absl::StrCat("ttrpc: stream ", frame.stream,
                                                                        ": a client's stream ids are odd")));
  }
  if (frame.type == kRequest) return OnRequest(frame.stream, frame.data);
  if (frame.type == kData) return OnData(frame);
}

void Server::Peer::OnRequest(uint32_t stream, absl::string_view bytes) {
  if (stream <= last_stream) {
    return Answer(stream, absl::InvalidArgumentError(absl::StrCat("ttrpc: stream ", stream, " after ",
                                                                  last_stream, ": stream ids must rise")));
  }
  last_stream = stream;
  absl::StatusOr<Request> request = ParseRequest(bytes);
  if (!request.ok()) return Answer(stream, request.status());
  Dispatch(stream, *std::move(request));
}

// Of a unary call a data frame can only say, without data, that no more comes.
void Server::Peer::OnData(const Frame& frame) {
  if (const auto it = streams.find(frame.stream); it != streams.end()) {
    const std::shared_ptr<ServerStream> stream = it->second;  // it may be finished meanwhile
    if (!(frame.flags & kNoData) && stream->events_.on_message) stream->events_.on_message(frame.data);
    if (!(frame.flags & kRemoteClosed) || std::exchange(stream->half_closed_, true)) return;
    if (streams.contains(frame.stream) && stream->events_.on_half_close) stream->events_.on_half_close();
    return;
  }
  if (!calls.contains(frame.stream)) {
    return Answer(frame.stream, absl::InvalidArgumentError(absl::StrCat(
                                    "ttrpc: data on stream ", frame.stream, ", which is not open")));
  }
  if (frame.data.empty() && (frame.flags & kNoData)) return;
  Answer(frame.stream, absl::InvalidArgumentError(absl::StrCat("ttrpc: data on stream ", frame.stream,
                                                               ", whose method takes one request")));
}

void Server::Peer::Dispatch(uint32_t stream, Request request) {
  if (state->shutting_down)
    return Answer(stream, absl::UnavailableError("ttrpc: the server is shutting down"));
  if (calls.size() + streams.size() >= kMaxCalls) {
    return Answer(stream, absl::ResourceExhaustedError(
                              absl::StrCat("ttrpc: ", kMaxCalls, " calls are under way on this connection")));
  }
  if (const auto service = state->stream_services.find(request.service);
      service != state->stream_services.end()) {
    if (const auto method = service->second.find(request.method); method != service->second.end()) {
      const std::shared_ptr<StreamHandler> handler = method->second;
      return Open(stream, std::move(request), handler.get());
    }
  }
  auto service = state->services.find(request.service);
  if (service == state->services.end()) {
    return Answer(stream, absl::UnimplementedError(absl::StrCat("service ", request.service)));
  }
  auto method = service->second.find(request.method);
  if (method == service->second.end()) {
    return Answer(stream,
                  absl::UnimplementedError(absl::StrCat("method ", request.service, "/", request.method)));
  }
  const absl::Duration timeout = TimeoutOf(request);
  if (timeout <= absl::ZeroDuration()) {
    return Answer(stream, absl::DeadlineExceededError("ttrpc: the deadline was over on arrival"));
  }
  sys::EventLoop::TimerId timer = 0;
  if (timeout != absl::InfiniteDuration()) {
    // Forget() cancels the timer before this peer goes away.
    timer = state->loop->RunAfter(timeout, [this, stream, timeout] {
      const auto self = shared_from_this();
      calls[stream] = 0;
      Answer(stream, absl::DeadlineExceededError(
                         absl::StrCat("ttrpc: no answer within ", absl::FormatDuration(timeout))));
    });
  }
  calls.emplace(stream, timer);
  const std::shared_ptr<Handler> handler = method->second;  // it may replace itself
  const CallInfo info{request.service, request.method, request.metadata, timeout, credentials};
  (*handler)(info, std::move(request.payload),
             Responder(std::make_unique<Responder::Call>(Responder::Call{weak_from_this(), stream})));
}

void Server::Peer::Open(uint32_t id, Request request, StreamHandler* handler) {
  auto stream = std::make_shared<ServerStream>();
  stream->peer_ = weak_from_this();
  stream->id_ = id;
  streams.emplace(id, stream);
  const CallInfo info{request.service, request.method, request.metadata, absl::InfiniteDuration(),
                      credentials};
  (*handler)(info, stream);
  if (!request.payload.empty() && streams.contains(id) && stream->events_.on_message) {
    stream->events_.on_message(std::move(request.payload));
  }
}

std::shared_ptr<ServerStream> Server::Peer::TakeStream(uint32_t id) {
  const auto it = streams.find(id);
  if (it == streams.end()) return nullptr;
  std::shared_ptr<ServerStream> stream = std::move(it->second);
  streams.erase(it);
  return stream;
}

void ServerStream::Send(absl::string_view message) {
  const auto peer = std::static_pointer_cast<Server::Peer>(peer_.lock());
  if (peer == nullptr || !peer->streams.contains(id_)) return;
  if (message.size() > kMaxDataBytes) {
    return Finish(absl::ResourceExhaustedError(absl::StrCat(
        "ttrpc: a message of ", message.size(), " bytes; at most ", kMaxDataBytes, " are allowed")));
  }
  peer->connection->Send(id_, kData, 0, message);
}

void ServerStream::Finish(const absl::Status& status) {
  const auto peer = std::static_pointer_cast<Server::Peer>(peer_.lock());
  if (peer == nullptr) return;
  const std::shared_ptr<ServerStream> self = peer->TakeStream(id_);
  if (self == nullptr) return;
  if (status.ok()) {
    peer->connection->Send(id_, kData, kRemoteClosed | kNoData, "");
  } else {
    peer->connection->Send(id_, kResponse, 0, EncodeResponse({.status = status}));
  }
  // Not now: one of its events may be on the stack.
  peer->state->loop->RunAfter(absl::ZeroDuration(), [self] { self->events_ = {}; });
  peer->state->CheckShutdown();
}

void Server::Peer::Answer(uint32_t stream, absl::StatusOr<std::string> result) {
  if (auto call = calls.find(stream); call != calls.end()) {
    if (call->second != 0) state->loop->Cancel(call->second);
    calls.erase(call);
  }
  Response response{.status = result.status()};
  if (result.ok()) response.payload = *std::move(result);
  std::string encoded = EncodeResponse(response);
  if (encoded.size() > kMaxDataBytes) {
    encoded = EncodeResponse(
        {.status = absl::ResourceExhaustedError(absl::StrCat(
             "ttrpc: an answer of ", encoded.size(), " bytes; at most ", kMaxDataBytes, " are allowed"))});
  }
  connection->Send(stream, kResponse, 0, encoded);
  state->CheckShutdown();
}

void Server::Peer::CancelTimers() {
  for (const auto& [stream, timer] : calls) {
    if (timer != 0) state->loop->Cancel(timer);
  }
  calls.clear();
}

void Server::State::Accept(Listener& listener) {
  for (int i = 0; i < kAcceptsPerTurn; ++i) {
    sys::UniqueFd fd(accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) PauseAccepting(listener);
      // Else nobody is there any more, or one connection ended before it was accepted.
      return;
    }
    absl::StatusOr<ucred> peer = PeerOf(fd.get());
    if (!peer.ok() || (listener.check && !listener.check(*peer).ok())) continue;  // closes it
    // Out of memory in epoll costs this connection, which is closed, alone.
    Adopt(std::move(fd), *peer).IgnoreError();
  }
}

void Server::State::PauseAccepting(Listener& listener) {
  const int fd = listener.fd.get();
  loop->Modify(fd, 0).IgnoreError();
  loop->RunAfter(kAcceptPause, [weak = weak_from_this(), fd] {
    auto self = weak.lock();
    if (!self) return;
    for (Listener& listener : self->listeners) {
      if (listener.fd.get() == fd) self->loop->Modify(fd, EPOLLIN).IgnoreError();
    }
  });
}

absl::Status Server::State::Adopt(sys::UniqueFd fd, const ucred& credentials) {
  auto peer = std::make_shared<Peer>(this, credentials);
  Peer* raw = peer.get();  // outlives its connection's callbacks, which end with Forget
  Connection::Callbacks callbacks;
  callbacks.on_frame = [raw](Frame frame) {
    const auto self = raw->shared_from_this();
    self->OnFrame(std::move(frame));
  };
  callbacks.on_close = [raw](const absl::Status&) { raw->state->Forget(raw); };
  callbacks.on_drained = [raw] { raw->state->CheckShutdown(); };
  GANTRY_ASSIGN_OR_RETURN(peer->connection, Connection::Start(loop, std::move(fd),
                                                              {.pause_above_bytes = kPauseAboveBytes,
                                                               .max_queue_bytes = kMaxQueueBytes},
                                                              std::move(callbacks)));
  peers.emplace(raw, std::move(peer));
  return absl::OkStatus();
}

void Server::State::Forget(Peer* peer) {
  auto found = peers.find(peer);
  if (found == peers.end()) return;
  const std::shared_ptr<Peer> last = std::move(found->second);
  peers.erase(found);
  last->CancelTimers();
  last->connection->Close();
  const auto streams = std::exchange(last->streams, {});
  for (const auto& [id, stream] : streams) {
    if (stream->events_.on_end) stream->events_.on_end();
    stream->events_ = {};
  }
  CheckShutdown();
}

void Server::State::CloseListeners() {
  for (Listener& listener : listeners) loop->Remove(listener.fd.get());
  listeners.clear();
}

size_t Server::State::Streams() const {
  size_t streams = 0;
  for (const auto& [raw, peer] : peers) streams += peer->streams.size();
  return streams;
}

size_t Server::State::Calls() const {
  size_t calls = 0;
  for (const auto& [raw, peer] : peers) calls += peer->calls.size();
  return calls;
}

bool Server::State::Quiet() const {
  for (const auto& [raw, peer] : peers) {
    if (!peer->calls.empty() || !peer->streams.empty() || peer->connection->queued_bytes() != 0) return false;
  }
  return true;
}

void Server::State::CheckShutdown() {
  if (!done || !Quiet()) return;
  // Not from here: a handler or a connection's callback may be on the stack.
  loop->RunAfter(absl::ZeroDuration(), [weak = weak_from_this()] {
    auto self = weak.lock();
    if (self && self->Quiet()) self->FinishShutdown();
  });
}

void Server::State::FinishShutdown() {
  if (!done) return;
  loop->Cancel(grace_timer);
  auto finished = std::exchange(done, nullptr);
  while (!peers.empty()) Forget(peers.begin()->first);
  finished();
}

Server::Server(sys::EventLoop* loop) : state_(std::make_shared<State>()) { state_->loop = loop; }

Server::~Server() {
  state_->done = nullptr;
  if (state_->grace_timer != 0) state_->loop->Cancel(state_->grace_timer);
  state_->CloseListeners();
  while (!state_->peers.empty()) state_->Forget(state_->peers.begin()->first);
}

void Server::Register(absl::string_view service, absl::string_view method, Handler handler) {
  state_->services[std::string(service)][std::string(method)] = std::make_shared<Handler>(std::move(handler));
}

void Server::RegisterStream(absl::string_view service, absl::string_view method, StreamHandler handler) {
  state_->stream_services[std::string(service)][std::string(method)] =
      std::make_shared<StreamHandler>(std::move(handler));
}

absl::Status Server::Serve(sys::UniqueFd listening, PeerCheck check) {
  const int fd = listening.get();
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
    return sys::ErrnoStatus("fcntl", "ttrpc listening socket");
  }
  auto& listener = state_->listeners.emplace_back();
  listener.fd = std::move(listening);
  listener.check = std::move(check);
  absl::Status added = state_->loop->Add(
      fd, EPOLLIN, [state = state_.get(), &listener](uint32_t) { state->Accept(listener); });
  if (!added.ok()) state_->listeners.pop_back();
  return added;
}

absl::Status Server::Adopt(sys::UniqueFd connection) {
  GANTRY_ASSIGN_OR_RETURN(const ucred peer, PeerOf(connection.get()));
  return state_->Adopt(std::move(connection), peer);
}

void Server::Shutdown(absl::Duration grace, absl::AnyInvocable<void()> done) {
  state_->shutting_down = true;
  state_->CloseListeners();
  state_->done = std::move(done);
  if (state_->grace_timer != 0) state_->loop->Cancel(state_->grace_timer);
  state_->grace_timer = state_->loop->RunAfter(grace, [state = state_.get()] { state->FinishShutdown(); });
  state_->CheckShutdown();
}

size_t Server::connections() const { return state_->peers.size(); }
size_t Server::calls() const { return state_->Calls(); }
size_t Server::streams() const { return state_->Streams(); }

}  // namespace gantry::ttrpc
