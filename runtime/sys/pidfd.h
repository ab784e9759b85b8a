// A process by descriptor: no signal or wait can ever hit another process that got the same number.
//
// Thread-safe as far as the kernel is; the object itself belongs to one thread. See pidfd_open(2),
// pidfd_send_signal(2), waitid(2) with P_PIDFD, and PIDFD_GET_INFO in <linux/pidfd.h>.
#ifndef GANTRY_RUNTIME_SYS_PIDFD_H_
#define GANTRY_RUNTIME_SYS_PIDFD_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::sys {

// How a process ended.
struct ExitStatus {
  bool signaled = false;
  int value = 0;  // the exit code, or the signal's number

  // What shells and container tools report: the exit code, or 128 + signal.
  int Code() const { return signaled ? 128 + value : value; }
};

// From a wait(2) status word.
ExitStatus ExitStatusFromWait(int wait_status);

class PidFd {
 public:
  PidFd() = default;
  explicit PidFd(UniqueFd fd) : fd_(std::move(fd)) {}

  // NOT_FOUND (ESRCH) when no process has that pid. The caller must know that `pid` still is the process it
  // means: true for an unreaped child, or after a start-time check.
  static absl::StatusOr<PidFd> Open(pid_t pid);

  int fd() const { return fd_.get(); }
  bool valid() const { return fd_.valid(); }
  UniqueFd release() { return std::move(fd_); }

  // NOT_FOUND (ESRCH) when the process has ended and was reaped.
  absl::Status Signal(int signal) const;

  // Whether the process has ended (a zombie has). Never blocks.
  bool Exited() const;

  // Waits until the process has ended; false after `timeout`. Reaps nothing, works for any process.
  bool WaitExited(absl::Duration timeout) const;

  // Reaps the process, a child of ours. kWait blocks; kNoWait answers nullopt while it runs.
  enum class Block { kWait, kNoWait };
  absl::StatusOr<std::optional<ExitStatus>> Reap(Block block) const;

  // The exit status of a process that need not be our child, after it ended, reaped or not: Linux 6.15 and later.
  // UNIMPLEMENTED on older kernels, FAILED_PRECONDITION while the process runs (and for an instant while it is reaped).
  absl::StatusOr<ExitStatus> ExitInfo() const;

  // With the pid, what tells this process from any other until the next boot. UNIMPLEMENTED before Linux 6.9.
  absl::StatusOr<uint64_t> Identity() const;

 private:
  UniqueFd fd_;
};

// The start time of a process in clock ticks since boot (field 22 of /proc/PID/stat): with the pid, an
// identity that survives a restart of ours. NOT_FOUND when there is no such process.
absl::StatusOr<uint64_t> ProcessStartTime(pid_t pid);

// Whether the process, or the one that it was forked from since, ever called execve: false means that it still is a copy
// of its parent (PF_FORKNOEXEC in field 9 of /proc/PID/stat). NOT_FOUND when there is no such process.
absl::StatusOr<bool> ProcessHasExecuted(pid_t pid);

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_PIDFD_H_
