#include "runtime/linux/mount_visit.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <utility>

#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::linux {

absl::StatusOr<MountVisit> MountVisit::Enter(int namespace_fd) {
  MountVisit visit;
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd home, sys::OpenAt(AT_FDCWD, "/proc/self/ns/mnt", O_RDONLY));
  GANTRY_ASSIGN_OR_RETURN(visit.root_, sys::OpenAt(AT_FDCWD, "/", O_PATH | O_DIRECTORY));
  GANTRY_ASSIGN_OR_RETURN(visit.directory_, sys::OpenAt(AT_FDCWD, ".", O_PATH | O_DIRECTORY));
  if (setns(namespace_fd, CLONE_NEWNS) != 0) return sys::ErrnoStatus("setns", "mount namespace");
  visit.home_ = std::move(home);
  return visit;
}

MountVisit::~MountVisit() {
  if (!home_) return;
  const bool back = setns(home_.get(), CLONE_NEWNS) == 0 && fchdir(root_.get()) == 0 && chroot(".") == 0 &&
                    fchdir(directory_.get()) == 0;
  if (!back) abort();
}

absl::Status UnmountIn(int namespace_fd, int mount_fd) {
  auto visit = MountVisit::Enter(namespace_fd);
  if (!visit.ok()) return visit.status();
  if (fchdir(mount_fd) != 0) return sys::ErrnoStatus("fchdir", "the root");
  if (umount2(".", MNT_DETACH) != 0) return sys::ErrnoStatus("umount", "the root");
  return absl::OkStatus();
}

absl::Status UnmountIn(int namespace_fd, const std::string& path, uint64_t id) {
  auto visit = MountVisit::Enter(namespace_fd);
  if (!visit.ok()) return sys::ErrnoOf(visit.status()) == EINVAL ? absl::OkStatus() : visit.status();
  const sys::UniqueFd root(open(path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!root || MountId(root.get()) != id) return absl::OkStatus();
  if (fchdir(root.get()) != 0 || umount2(".", MNT_DETACH) != 0) return sys::ErrnoStatus("umount", path);
  return absl::OkStatus();
}

uint64_t MountId(int fd) {
  constexpr unsigned kUnique = 0x4000;  // STATX_MNT_ID_UNIQUE, newer than our headers
  struct statx st = {};
  if (fd < 0 || statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID | kUnique, &st) != 0) return 0;
  return st.stx_mnt_id;
}

}  // namespace gantry::linux
