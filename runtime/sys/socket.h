// Unix sockets: pairs, servers and clients, descriptors over SCM_RIGHTS, the credentials of a peer.
//
// Every socket is O_CLOEXEC. Abstract names are never used (CVE-2020-15257). Paths longer than sun_path's 107
// bytes work: the directory is opened and the socket addressed through /proc/self/fd. EINTR is retried; no
// call raises SIGPIPE. Thread-safe: no state.
#ifndef GANTRY_RUNTIME_SYS_SOCKET_H_
#define GANTRY_RUNTIME_SYS_SOCKET_H_

#include <sys/socket.h>
#include <sys/types.h>

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::sys {

struct SocketPair {
  UniqueFd first, second;
};

// `type`: SOCK_STREAM or SOCK_SEQPACKET, with SOCK_NONBLOCK if wanted.
absl::StatusOr<SocketPair> MakeSocketPair(int type);

// Binds and listens at `path` with the permission bits `mode`; never wider than that, from the first instant.
// The errno is EADDRINUSE when the path exists.
absl::StatusOr<UniqueFd> ListenUnix(const std::string& path, int type, mode_t mode, int backlog = 64);

// Connects to the socket at `path`. UNAVAILABLE or the like with ECONNREFUSED when nobody listens, NOT_FOUND
// (ENOENT) when there is no socket.
absl::StatusOr<UniqueFd> ConnectUnix(const std::string& path, int type);

struct PeerCredentials {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
};
// SO_PEERCRED: who connected, as of connect(2).
absl::StatusOr<PeerCredentials> PeerOf(int socket);

// Sends `data` (at least one byte) and `fds` in one message. The descriptors stay the caller's.
absl::Status SendWithFds(int socket, absl::string_view data, const std::vector<int>& fds);

struct ReceivedMessage {
  std::string data;  // empty: the peer closed
  std::vector<UniqueFd> fds;
};
inline constexpr size_t kMaxFdsPerMessage = 32;
// Receives one message of at most `limit_bytes` with at most kMaxFdsPerMessage descriptors. A message that
// was longer, or carried more, is RESOURCE_EXHAUSTED, and its descriptors are closed.
absl::StatusOr<ReceivedMessage> ReceiveWithFds(int socket, size_t limit_bytes);

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_SOCKET_H_
