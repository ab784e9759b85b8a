#include "runtime/sys/pidfd.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::sys {
namespace {

// <linux/pidfd.h> of Linux 6.15; Debian 12's headers are older.
struct PidFdInfo {
  uint64_t mask;
  uint64_t cgroupid;
  uint32_t pid, tgid, ppid, ruid, rgid, euid, egid, suid, sgid, fsuid, fsgid;
  int32_t exit_code;
};
constexpr uint64_t kPidFdInfoExit = 1u << 3;
constexpr size_t kExitCodeField = 52;  // of /proc/PID/stat
#define GANTRY_PIDFD_GET_INFO _IOWR(0xFF, 11, gantry::sys::PidFdInfo)

// Field `number`, above 2, of /proc/PID/stat; see proc(5).
absl::StatusOr<uint64_t> StatField(pid_t pid, size_t number) {
  auto text = ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", pid, "/stat"), 4096);
  if (!text.ok()) return text.status();
  // The command's name, field 2, is in parentheses and may hold anything, also parentheses.
  const size_t name_end = text->rfind(')');
  if (name_end == std::string::npos) return absl::InternalError("/proc/PID/stat has no name");
  const std::vector<absl::string_view> fields =
      absl::StrSplit(absl::string_view(*text).substr(name_end + 1), ' ', absl::SkipEmpty());
  uint64_t value = 0;
  const size_t index = number - 3;  // fields[0] is field 3
  if (fields.size() <= index || !absl::SimpleAtoi(fields[index], &value)) {
    return absl::InternalError(absl::StrCat("/proc/PID/stat has no field ", number));
  }
  return value;
}

}  // namespace

ExitStatus ExitStatusFromWait(int wait_status) {
  if (WIFSIGNALED(wait_status)) return ExitStatus{true, WTERMSIG(wait_status)};
  return ExitStatus{false, WEXITSTATUS(wait_status)};
}

absl::StatusOr<PidFd> PidFd::Open(pid_t pid) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (fd < 0) return ErrnoStatus("pidfd_open", absl::StrCat(pid));
  return PidFd(UniqueFd(fd));
}

absl::Status PidFd::Signal(int signal) const {
  if (syscall(SYS_pidfd_send_signal, fd_.get(), signal, nullptr, 0) != 0) {
    return ErrnoStatus("pidfd_send_signal", absl::StrCat("signal ", signal));
  }
  return absl::OkStatus();
}

bool PidFd::Exited() const { return WaitExited(absl::ZeroDuration()); }

bool PidFd::WaitExited(absl::Duration timeout) const {
  const Deadline deadline = Deadline::After(timeout);
  struct pollfd poll_fd = {fd_.get(), POLLIN, 0};
  for (;;) {
    const int n = poll(&poll_fd, 1, deadline.PollTimeout());
    if (n > 0) return true;
    if (n == 0) return false;
    if (errno != EINTR) return false;
  }
}

absl::StatusOr<std::optional<ExitStatus>> PidFd::Reap(Block block) const {
  siginfo_t info;
  info.si_pid = 0;
  const int options = WEXITED | (block == Block::kNoWait ? WNOHANG : 0);
  int result;
  do {
    result = waitid(P_PIDFD, static_cast<id_t>(fd_.get()), &info, options);
  } while (result != 0 && errno == EINTR);
  if (result != 0) return ErrnoStatus("waitid", "pidfd");
  if (info.si_pid == 0) return std::optional<ExitStatus>();
  return std::optional<ExitStatus>(ExitStatus{info.si_code != CLD_EXITED, info.si_status});
}

absl::StatusOr<ExitStatus> PidFd::ExitInfo() const {
  PidFdInfo info = {};
  info.mask = kPidFdInfoExit;
  if (ioctl(fd_.get(), GANTRY_PIDFD_GET_INFO, &info) != 0) {
    if (errno == ENOTTY || errno == EINVAL) {
      return absl::UnimplementedError("the kernel keeps no exit status behind a pidfd (Linux 6.15 does)");
    }
    return ErrnoStatus("PIDFD_GET_INFO", "");
  }
  if ((info.mask & kPidFdInfoExit) == 0) {
    // Kept when it is reaped. Until then it is a zombie, of which the kernel tells elsewhere; its number is its own as
    // long as it can be signalled.
    if (Exited() && info.pid != 0) {
      const absl::StatusOr<uint64_t> status = StatField(static_cast<pid_t>(info.pid), kExitCodeField);
      if (status.ok() && Signal(0).ok()) return ExitStatusFromWait(static_cast<int>(*status));
    }
    return absl::FailedPreconditionError("the process has not ended, or the kernel is older than Linux 6.15");
  }
  return ExitStatusFromWait(info.exit_code);
}

absl::StatusOr<uint64_t> PidFd::Identity() const {
  constexpr long kPidFs = 0x50494446;  // PID_FS_MAGIC
  struct statfs fs;
  if (fstatfs(fd_.get(), &fs) != 0) return ErrnoStatus("fstatfs", "pidfd");
  if (fs.f_type != kPidFs) return absl::UnimplementedError("pidfds have no identity before Linux 6.9");
  struct stat info;
  if (fstat(fd_.get(), &info) != 0) return ErrnoStatus("fstat", "pidfd");
  return info.st_ino;
}

absl::StatusOr<uint64_t> ProcessStartTime(pid_t pid) { return StatField(pid, 22); }

absl::StatusOr<bool> ProcessHasExecuted(pid_t pid) {
  constexpr uint64_t kForkNoExec = 0x40;  // PF_FORKNOEXEC
  absl::StatusOr<uint64_t> flags = StatField(pid, 9);
  if (!flags.ok()) return flags.status();
  return (*flags & kForkNoExec) == 0;
}

}  // namespace gantry::sys
