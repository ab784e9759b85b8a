#include "runtime/linux/host_bind.h"

#include <fcntl.h>
#include <sys/mount.h>

#include "runtime/linux/in_root.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount_api.h"
#include "runtime/sys/status.h"

namespace gantry::linux {

absl::StatusOr<HostBind> HostBind::Make(const std::string& source, const std::string& target) {
  GANTRY_ASSIGN_OR_RETURN(sys::DetachedMount mount, sys::DetachedMount::Copy(AT_FDCWD, source, true));
  sys::DetachedMount::Attributes change;
  change.propagation = MS_PRIVATE;
  change.recursive = true;
  GANTRY_RETURN_IF_ERROR(mount.SetAttributes(change));
  GANTRY_ASSIGN_OR_RETURN(const sys::UniqueFd directory, sys::OpenAt(AT_FDCWD, target, O_PATH | O_DIRECTORY));
  GANTRY_RETURN_IF_ERROR(mount.AttachTo(directory.get()));
  return HostBind(target);
}

HostBind::~HostBind() {
  if (!target_.empty()) umount2(target_.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
}

absl::Status MakeMountPoint(const std::string& rootfs, const MountPoint& point) {
  GANTRY_ASSIGN_OR_RETURN(const sys::UniqueFd root, sys::OpenAt(AT_FDCWD, rootfs, O_PATH | O_DIRECTORY));
  const sys::UniqueFd made(point.is_directory
                               ? MakeDirectoryInRoot(root.get(), point.destination.c_str(), 0755)
                               : MakeFileInRoot(root.get(), point.destination.c_str()));
  return made.valid() ? absl::OkStatus() : sys::ErrnoStatus("mount point", point.destination);
}

}  // namespace gantry::linux
