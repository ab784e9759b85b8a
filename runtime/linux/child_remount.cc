// The child: attributes of mounts by mount(2), for kernels before 5.12. The mount is attached by now; it is named by its
// descriptor's magic link in the host's procfs, so no name of the container is ever followed.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdio>

#include "runtime/linux/child.h"

namespace gantry::linux {
namespace {

struct Flag {
  uint64_t attribute;     // MOUNT_ATTR_*
  unsigned long mount;    // MS_*
  unsigned long statvfs;  // ST_*
};
constexpr Flag kFlags[] = {
    {MOUNT_ATTR_RDONLY, MS_RDONLY, ST_RDONLY},
    {MOUNT_ATTR_NOSUID, MS_NOSUID, ST_NOSUID},
    {MOUNT_ATTR_NODEV, MS_NODEV, ST_NODEV},
    {MOUNT_ATTR_NOEXEC, MS_NOEXEC, ST_NOEXEC},
    {MOUNT_ATTR_NODIRATIME, MS_NODIRATIME, ST_NODIRATIME},
};

// One of three, not a set of bits.
unsigned long AccessTime(unsigned long statvfs_flags, const plan::MountAttr& attr) {
  if ((attr.clear & MOUNT_ATTR__ATIME) != 0) {
    if ((attr.set & MOUNT_ATTR_NOATIME) != 0) return MS_NOATIME;
    return (attr.set & MOUNT_ATTR_STRICTATIME) != 0 ? MS_STRICTATIME : MS_RELATIME;
  }
  if ((statvfs_flags & ST_NOATIME) != 0) return MS_NOATIME;
  return (statvfs_flags & ST_RELATIME) != 0 ? MS_RELATIME : MS_STRICTATIME;
}

}  // namespace

bool Child::RemountHere(const char* path, int mount, const plan::MountAttr& attr) {
  if ((attr.set | attr.clear) != 0) {
    struct statvfs fs;
    if (fstatvfs(mount, &fs) != 0) return false;
    unsigned long flags = AccessTime(fs.f_flag, attr);
    for (const Flag& flag : kFlags) {
      const bool had = (fs.f_flag & flag.statvfs) != 0;
      if ((attr.set & flag.attribute) != 0 || (had && (attr.clear & flag.attribute) == 0))
        flags |= flag.mount;
    }
    if (::mount(nullptr, path, nullptr, MS_REMOUNT | MS_BIND | flags, nullptr) != 0) return false;
  }
  if (attr.propagation.value == 0) return true;
  const unsigned long recursive = attr.propagation.recursive ? MS_REC : 0;
  return ::mount(nullptr, path, nullptr, attr.propagation.value | recursive, nullptr) == 0;
}

bool Child::Remount(int mount, const plan::MountAttr& attr, const char* subject) {
  const int here = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (here < 0) return Fail("open", "the working directory");
  char path[32];
  snprintf(path, sizeof path, "self/fd/%d", mount);
  const bool ok = (fchdir(p_.proc) == 0 && RemountHere(path, mount, attr)) || Fail("remount", subject);
  if (fchdir(here) != 0 && ok) {
    close(here);
    return Fail("fchdir", "the working directory");
  }
  close(here);
  return ok;
}

}  // namespace gantry::linux
