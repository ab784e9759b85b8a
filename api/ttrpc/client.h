// A ttrpc client on an event loop: unary calls, any number at a time over one connection.
//
//   GANTRY_ASSIGN_OR_RETURN(auto client, ttrpc::Client::Connect(loop, "unix:///run/.../s/ab12"));
//   client->Call("containerd.task.v3.Task", "State", payload, absl::Seconds(5),
//                [](absl::StatusOr<std::string> answer) { ... });
//
// Idle, it has no timer and keeps a few hundred bytes.
//
// Thread safety: everything on the loop's thread only. A callback may call anything here, and may destroy the
// client.
#ifndef GANTRY_API_TTRPC_CLIENT_H_
#define GANTRY_API_TTRPC_CLIENT_H_

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

class Client {
 public:
  // The answer's payload, or: the server's error; DEADLINE_EXCEEDED; UNAVAILABLE when the connection is or
  // gets closed (the call may or may not have been carried out); RESOURCE_EXHAUSTED for a message above 4 MiB
  // in either direction or a full queue. Called once, from the loop, never from inside Call.
  using Callback = absl::AnyInvocable<void(absl::StatusOr<std::string> answer)>;

  // Requests that wait for the server to read them: above it a call fails at once with RESOURCE_EXHAUSTED.
  static constexpr size_t kMaxQueueBytes = 16 << 20;

  // Connects to a unix socket: "unix:///path", "ttrpc+unix:///path" or "/path" (at most 107 bytes of path).
  // `loop` must outlive the client. UNAVAILABLE if nobody listens or its backlog is full, INVALID_ARGUMENT
  // for other kinds of addresses.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(sys::EventLoop* loop, absl::string_view address);
  // Over a connected stream socket (made non-blocking).
  static absl::StatusOr<std::unique_ptr<Client>> FromFd(sys::EventLoop* loop, sys::UniqueFd connection);

  // Closes the connection; callbacks of pending calls are destroyed uncalled.
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // `timeout` goes to the server too; absl::InfiniteDuration() waits as long as the connection lives. An
  // answer that comes after the deadline is ignored.
  void Call(absl::string_view service, absl::string_view method, std::string payload, absl::Duration timeout,
            Callback callback);
  void Call(absl::string_view service, absl::string_view method, std::string payload, absl::Duration timeout,
            Metadata metadata, Callback callback);

  // `callback` is called once, from the loop, when the connection is closed (by the server, by an error, by
  // Close), after the callbacks of all pending calls. Replaces an earlier one.
  void OnClose(absl::AnyInvocable<void(absl::Status reason)> callback);

  // Closes the connection; pending calls fail with UNAVAILABLE, from the loop.
  void Close();

  bool closed() const;
  size_t pending() const;

 private:
  struct State;
  explicit Client(std::shared_ptr<State> state);
  std::shared_ptr<State> state_;
};

}  // namespace gantry::ttrpc

#endif  // GANTRY_API_TTRPC_CLIENT_H_
