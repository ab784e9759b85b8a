// A ttrpc server on an event loop: unary calls, for the shim's task service and for the daemon's event
// service.
//
//   ttrpc::Server server(loop);
//   server.Register("containerd.task.v3.Task", "State", [](const CallInfo& call, std::string payload,
//                                                          Responder respond) { respond(Answer(payload)); });
//   server.Serve(std::move(listening_socket), ttrpc::RequireOwnerOrRoot());
//
// What a peer does wrong costs that peer alone: bytes that are no ttrpc close its connection; a message above
// 4 MiB is answered with RESOURCE_EXHAUSTED, one that cannot be parsed, a stream id that is even or not
// rising, or data on a call that takes none, with INVALID_ARGUMENT, and the connection goes on. Frames of
// unknown types are ignored. A client that does not read its answers is not read from either
// (kPauseAboveBytes), and is cut off above kMaxQueueBytes. A handler that misses the caller's deadline is
// answered for with DEADLINE_EXCEEDED.
//
// Idle, it has no timer and keeps a few hundred bytes a connection.
//
// Thread safety: everything, Responders too, on the loop's thread only. Handlers may call anything here; only
// the server's destruction inside its own handler is forbidden.
#ifndef GANTRY_API_TTRPC_SERVER_H_
#define GANTRY_API_TTRPC_SERVER_H_

#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "api/ttrpc/envelope.h"
#include "runtime/sys/event_loop.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::ttrpc {

// What is known of a call beside its payload. Valid during the handler only.
struct CallInfo {
  const std::string& service;
  const std::string& method;
  const Metadata& metadata;
  absl::Duration timeout;  // as the caller sent it; InfiniteDuration if it set none
  ucred peer;              // SO_PEERCRED: who made the connection
};

// The value that the caller gave `key` (keys are compared as they are), or empty.
absl::string_view MetadataValue(const Metadata& metadata, absl::string_view key);

// Answers one call, once, now or later. The second answer, and one after the deadline or after the connection
// closed, is dropped. A Responder that is destroyed without an answer answers INTERNAL.
class Responder {
 public:
  Responder(Responder&&) noexcept;
  Responder& operator=(Responder&&) noexcept;
  ~Responder();

  // The payload of the answer, or an error. An answer above 4 MiB becomes RESOURCE_EXHAUSTED.
  void operator()(absl::StatusOr<std::string> result);

  // False once an answer would reach nobody.
  bool wanted() const;

 private:
  friend class Server;
  struct Call;
  explicit Responder(std::unique_ptr<Call> call);
  std::unique_ptr<Call> call_;
};

// A call in which both sides send messages, as many as they like: the server's side of it.
//
// It is over when this side finishes it, or its connection ends. Held by shared_ptr: its handler keeps it.
class ServerStream : public std::enable_shared_from_this<ServerStream> {
 public:
  struct Events {
    absl::AnyInvocable<void(std::string message)> on_message = {};
    absl::AnyInvocable<void()> on_half_close = {};  // the client sends no more
    absl::AnyInvocable<void()> on_end = {};         // its connection ended; not called after Finish
  };
  // To be called by the handler, before anything else. The events are destroyed when the stream is over.
  void Listen(Events events) { events_ = std::move(events); }

  // At most kMaxDataBytes. Nothing happens once it is over.
  void Send(absl::string_view message);
  // OK: no more comes, for a good reason. Once.
  void Finish(const absl::Status& status);

  bool half_closed() const { return half_closed_; }

 private:
  friend class Server;
  std::weak_ptr<void> peer_;  // a Server::Peer
  uint32_t id_ = 0;
  bool half_closed_ = false;
  Events events_;
};

using Handler = absl::AnyInvocable<void(const CallInfo& call, std::string payload, Responder respond)>;

using StreamHandler = absl::AnyInvocable<void(const CallInfo& call, std::shared_ptr<ServerStream> stream)>;

// Decides by the peer's credentials whether a new connection is kept.
using PeerCheck = absl::AnyInvocable<absl::Status(const ucred& peer)>;
// Lets in uid 0 and the server's own effective uid; PERMISSION_DENIED for others.
PeerCheck RequireOwnerOrRoot();

class Server {
 public:
  // Answers that wait for a client to read them: above the first, its requests are left in the socket; above
  // the second (a handler goes on answering), the connection is closed.
  static constexpr size_t kPauseAboveBytes = 8 << 20;
  static constexpr size_t kMaxQueueBytes = 64 << 20;
  // Calls of one connection that may be under way; more are answered RESOURCE_EXHAUSTED.
  static constexpr size_t kMaxCalls = 4096;

  // `loop` must outlive the server.
  explicit Server(sys::EventLoop* loop);
  // Closes everything without answering what is under way.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // A second handler for the same method replaces the first.
  void Register(absl::string_view service, absl::string_view method, Handler handler);
  // Of a method with streams in both directions. A caller's deadline is its own affair.
  void RegisterStream(absl::string_view service, absl::string_view method, StreamHandler handler);

  // Accepts from `listening` (a listening stream socket; made non-blocking) from now on. May be called for
  // several. An error is epoll's or fcntl's.
  absl::Status Serve(sys::UniqueFd listening, PeerCheck check);
  // Takes a connection that exists already (a socketpair). The peer is not checked.
  absl::Status Adopt(sys::UniqueFd connection);

  // Stops listening and answers new calls with UNAVAILABLE; calls `done`, from the loop, when all answers are
  // written and no call is under way, or after `grace`, and by then every connection is closed.
  void Shutdown(absl::Duration grace, absl::AnyInvocable<void()> done);

  size_t connections() const;
  size_t calls() const;    // under way, of all connections, without streams
  size_t streams() const;  // under way, of all connections

 private:
  friend class Responder;
  friend class ServerStream;
  struct State;
  struct Peer;
  std::shared_ptr<State> state_;
};

}  // namespace gantry::ttrpc

#endif  // GANTRY_API_TTRPC_SERVER_H_
