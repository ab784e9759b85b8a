#include "runtime/container/internal.h"

#include <fcntl.h>
#include <signal.h>

#include "absl/strings/str_cat.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/status.h"

namespace gantry::container {

std::string StartSocketPath(const std::string& state_dir) { return absl::StrCat(state_dir, "/start"); }

absl::Status CheckPreservedFds(int count) {
  for (int fd = 3; fd < 3 + count; fd++) {
    const int flags = fcntl(fd, F_GETFD);
    if (flags < 0 || (flags & FD_CLOEXEC) != 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("cannot preserve descriptor ", fd, ": the caller has not passed it"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<sys::UniqueFd> ConnectConsole(bool terminal, const std::string& path, bool allowed_without) {
  if (!terminal) {
    if (path.empty()) return sys::UniqueFd();
    return absl::InvalidArgumentError("a console socket was given, but process.terminal is not set");
  }
  if (path.empty()) {
    if (allowed_without) return sys::UniqueFd();
    return absl::InvalidArgumentError(
        "process.terminal is set: a console socket must be given to receive it");
  }
  auto fd = sys::ConnectUnix(path, SOCK_STREAM);
  if (!fd.ok()) return sys::Annotate(fd.status(), "console socket");
  return fd;
}

absl::Status SendTerminal(int console, const linux::Executed& executed) {
  if (!executed.terminal) return absl::InternalError("no terminal was made");
  return sys::SendWithFds(console, executed.terminal_name.empty() ? "/dev/ptmx" : executed.terminal_name,
                          {executed.terminal.get()});
}

void AbandonProcess(linux::Executed& executed, bool clone_parent) {
  executed.pidfd.Signal(SIGKILL).IgnoreError();
  if (clone_parent) {
    executed.pidfd.WaitExited(absl::Seconds(10));
  } else {
    executed.pidfd.Reap(sys::PidFd::Block::kWait).status().IgnoreError();
  }
  executed.cgroup.KillAll(SIGKILL).IgnoreError();
  executed.cgroup.Delete().IgnoreError();
}

}  // namespace gantry::container
