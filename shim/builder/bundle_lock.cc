#include "shim/builder/bundle_lock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/status.h"

namespace gantry::shim {
namespace {

constexpr char kFile[] = "/builder";
constexpr char kSuccessor[] = "/successor";
// From SIGKILL to the end of a process.
constexpr absl::Duration kDying = absl::Seconds(1);

struct flock WholeFile() {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

// 0: nobody.
pid_t HolderOf(int file) {
  struct flock lock = WholeFile();
  return fcntl(file, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK ? lock.l_pid : 0;
}

}  // namespace

absl::StatusOr<sys::UniqueFd> HoldBundle(const std::string& bundle, pid_t shim) {
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd file,
                          sys::OpenAt(AT_FDCWD, bundle + kFile, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  struct flock lock = WholeFile();
  if (fcntl(file.get(), F_SETLK, &lock) != 0) return sys::ErrnoStatus("fcntl F_SETLK", bundle + kFile);
  if (getppid() != shim) return absl::AbortedError("the shim has ended");
  return file;
}

sys::UniqueFd HoldAfterOthers(const std::string& bundle, absl::Duration patience) {
  absl::StatusOr<sys::UniqueFd> file =
      sys::OpenAt(AT_FDCWD, bundle + kFile, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
  if (!file.ok()) return sys::UniqueFd();
  const sys::Deadline deadline = sys::Deadline::After(patience);
  struct flock lock = WholeFile();
  while (fcntl(file->get(), F_SETLK, &lock) != 0) {
    if (errno != EAGAIN && errno != EACCES) return sys::UniqueFd();
    const pid_t holder = HolderOf(file->get());
    const absl::StatusOr<sys::PidFd> process = sys::PidFd::Open(holder);
    // Looked at again: now the number cannot pass to another process any more.
    if (holder <= 0 || !process.ok() || HolderOf(file->get()) != holder) continue;
    if (process->WaitExited(deadline.Left())) continue;
    process->Signal(SIGKILL).IgnoreError();
    if (!process->WaitExited(kDying)) return sys::UniqueFd();
  }
  return *std::move(file);
}

absl::StatusOr<sys::UniqueFd> HoldAsSuccessor(const std::string& bundle) {
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd file,
                          sys::OpenAt(AT_FDCWD, bundle + kSuccessor, O_RDWR | O_CREAT | O_NOFOLLOW, 0600));
  GANTRY_ASSIGN_OR_RETURN(const sys::PidFd self, sys::PidFd::Open(getpid()));
  GANTRY_ASSIGN_OR_RETURN(const uint64_t own, self.Identity());
  struct flock lock = WholeFile();
  while (fcntl(file.get(), F_SETLK, &lock) != 0) {
    if (errno != EAGAIN && errno != EACCES) return sys::ErrnoStatus("fcntl F_SETLK", bundle + kSuccessor);
    const pid_t holder = HolderOf(file.get());
    const absl::StatusOr<sys::PidFd> process = sys::PidFd::Open(holder);
    if (holder <= 0 || !process.ok() || HolderOf(file.get()) != holder) continue;
    GANTRY_ASSIGN_OR_RETURN(const uint64_t theirs, process->Identity());
    // The kernel counts them up as processes come to be.
    if (theirs > own) return absl::AbortedError("a later shim has the container");
    process->Signal(SIGKILL).IgnoreError();
    if (!process->WaitExited(kDying)) return absl::DeadlineExceededError("an older shim does not end");
  }
  return file;
}

}  // namespace gantry::shim
