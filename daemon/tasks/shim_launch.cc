#include "daemon/tasks/shim_launch.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/status.h"

namespace gantry::tasks {

sys::SpawnOptions ShimSpawn(const ShimHost& host, const std::string& binary, const TaskKey& key,
                            const std::string& bundle, ShimAction action) {
  const ShimCall call = {
      binary, key.ns, key.id, bundle, host.grpc_address, host.ttrpc_address, host.daemon_binary, host.debug};
  sys::SpawnOptions spawn;
  spawn.path = binary;
  spawn.argv = ShimArguments(call, action);
  spawn.env = ShimEnvironment(call, host.environment, host.shim_env);
  spawn.cwd = bundle;
  return spawn;
}

absl::StatusOr<sys::PidFd> SpawnServing(const ShimHost& host, const std::string& binary, const TaskKey& key,
                                        const std::string& bundle, const std::string& socket_path,
                                        int init_fd) {
  absl::StatusOr<sys::UniqueFd> socket = sys::ListenUnix(socket_path, SOCK_STREAM, 0600);
  if (sys::ErrnoOf(socket.status()) == EADDRINUSE) {
    // Of a shim that was killed: a live one has its bundle, and the bundle was free.
    unlink(socket_path.c_str());
    socket = sys::ListenUnix(socket_path, SOCK_STREAM, 0600);
  }
  GANTRY_RETURN_IF_ERROR(socket.status());
  GANTRY_ASSIGN_OR_RETURN(const sys::UniqueFd log,
                          sys::OpenAt(AT_FDCWD, absl::StrCat(bundle, "/shim.log"),
                                      O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0600));
  sys::SpawnOptions spawn =
      ShimSpawn(host, binary, key, bundle, init_fd < 0 ? ShimAction::kServe : ShimAction::kSucceed);
  spawn.fds = {{socket->get(), 3}, {log.get(), 2}};
  if (init_fd >= 0) spawn.fds.emplace_back(init_fd, 4);
  // As shim/README.md has it: so started, the program is the shim at once, and no child of ours.
  spawn.session = sys::SpawnOptions::Session::kNewSession;
  spawn.orphan = true;
  GANTRY_ASSIGN_OR_RETURN(sys::Spawned spawned, sys::Spawn(spawn));
  return std::move(spawned.pidfd);
}

absl::StatusOr<sys::UniqueFd> MakeShimLog(const std::string& bundle) {
  const std::string fifo = absl::StrCat(bundle, "/log");
  if (mkfifo(fifo.c_str(), 0600) != 0) return sys::ErrnoStatus("mkfifo", fifo);
  // Also for writing, so that it never is at its end when a shim closes it.
  return sys::OpenAt(AT_FDCWD, fifo, O_RDWR | O_NONBLOCK);
}

void CopyShimLog(int log) {
  char buffer[4096];
  const ssize_t size = read(log, buffer, sizeof(buffer));
  // A shim's lines are in the log's format already.
  if (size > 0) {
    sys::WriteAll(STDERR_FILENO, absl::string_view(buffer, static_cast<size_t>(size))).IgnoreError();
  }
}

}  // namespace gantry::tasks
