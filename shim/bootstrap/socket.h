// The shim's socket: its name, and how it comes to be without two shims fighting for it.
//
// Owned by root with mode 0600, never abstract (CVE-2020-15257). Functions are thread-safe.
#ifndef GANTRY_SHIM_BOOTSTRAP_SOCKET_H_
#define GANTRY_SHIM_BOOTSTRAP_SOCKET_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::shim {

// Where containerd's shims keep their sockets, unless a daemon says otherwise.
inline constexpr char kDefaultSocketDirectory[] = "/run/containerd/s";

// <directory>/<sha256 of "grpc_address/namespace/group", cleaned as filepath.Join does>.
std::string SocketPath(absl::string_view directory, absl::string_view grpc_address,
                       absl::string_view namespace_name, absl::string_view group);

// Somebody listens at `path`.
bool IsServed(const std::string& path);

// Binds and listens at `path`, making its directory (0700) if need be. A socket that nobody serves is
// replaced; ALREADY_EXISTS if somebody does. ALREADY_EXISTS also for anything there that is no socket.
absl::StatusOr<sys::UniqueFd> ListenAt(const std::string& path);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_BOOTSTRAP_SOCKET_H_
