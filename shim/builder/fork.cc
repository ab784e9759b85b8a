#include "shim/builder/fork.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "runtime/sys/close_range.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/status.h"

namespace gantry::shim {
namespace {

// Whatever a helper keeps open, somebody else waits for the end of.
void CloseAllExcept(std::vector<int> keep) {
  std::sort(keep.begin(), keep.end());
  unsigned next = 3;
  for (int fd : keep) {
    if (fd < static_cast<int>(next)) continue;
    if (static_cast<unsigned>(fd) > next) sys::CloseRange(next, static_cast<unsigned>(fd) - 1, 0);
    next = static_cast<unsigned>(fd) + 1;
  }
  sys::CloseRange(next, ~0U, 0);
}

void ResetSignals() {
  // Ignored signals stay ignored through execve: containers would never see SIGPIPE.
  signal(SIGPIPE, SIG_DFL);
  signal(SIGHUP, SIG_DFL);
  signal(SIGINT, SIG_DFL);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

}  // namespace

absl::StatusOr<pid_t> Fork() {
  const pid_t pid = fork();
  if (pid < 0) return sys::ErrnoStatus("fork", "");
  return pid;
}

absl::StatusOr<sys::UniqueFd> RunForked(const std::vector<int>& keep,
                                        absl::FunctionRef<void(int socket)> job) {
  GANTRY_ASSIGN_OR_RETURN(sys::SocketPair pair, sys::MakeSocketPair(SOCK_SEQPACKET));
  GANTRY_ASSIGN_OR_RETURN(const pid_t pid, Fork());
  if (pid != 0) return std::move(pair.first);
  std::vector<int> open = keep;
  open.push_back(pair.second.get());
  CloseAllExcept(std::move(open));
  ResetSignals();
  job(pair.second.get());
  _exit(0);
}

}  // namespace gantry::shim
