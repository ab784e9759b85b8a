// A unix socket that accepts on the event loop.
//
// Everything on the loop's thread.
#ifndef GANTRY_DAEMON_SERVER_LISTENER_H_
#define GANTRY_DAEMON_SERVER_LISTENER_H_

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/sys/event_loop.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::server {

struct ListenOptions {
  std::string path;
  mode_t mode = 0660;
  uid_t uid = 0;
  gid_t gid = 0;
};

// Makes the listening socket, its folder (0711) too. A socket that a dead process left is replaced. Errors:
// ALREADY_EXISTS when a live process listens there (naming its pid) or the path is no socket.

absl::StatusOr<sys::UniqueFd> ListenAt(const ListenOptions& options);

class Listener {
 public:
  // Called with each new connection: non-blocking, close-on-exec.
  using OnConnection = std::function<void(sys::UniqueFd)>;

  // Takes over the listening `socket`. `path` is unlinked when the listener goes; empty: not ours to remove.
  Listener(sys::EventLoop* loop, sys::UniqueFd socket, std::string path);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  absl::Status Start(OnConnection on_connection);

 private:
  void Accept();
  void Pause();

  sys::EventLoop* const loop_;
  const sys::UniqueFd socket_;
  const std::string path_;
  OnConnection on_connection_;
  sys::EventLoop::TimerId paused_ = 0;
};

}  // namespace gantry::server

#endif  // GANTRY_DAEMON_SERVER_LISTENER_H_
