#include "runtime/sys/self_exe.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <utility>

#include "runtime/sys/mount_api.h"
#include "runtime/sys/status.h"

namespace gantry::sys {

absl::StatusOr<UniqueFd> OpenSelfReadOnly() {
  GANTRY_ASSIGN_OR_RETURN(DetachedMount mount, DetachedMount::Copy(AT_FDCWD, "/proc/self/exe", false));
  DetachedMount::Attributes change;
  change.set = MOUNT_ATTR_RDONLY;
  GANTRY_RETURN_IF_ERROR(mount.SetAttributes(change));
  return mount.release();
}

absl::Status ReexecReadOnly(char** argv) {
  struct statvfs fs;
  if (statvfs("/proc/self/exe", &fs) != 0) return ErrnoStatus("statvfs", "/proc/self/exe");
  if ((fs.f_flag & ST_RDONLY) != 0) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(UniqueFd self, OpenSelfReadOnly());
  execveat(self.get(), "", argv, environ, AT_EMPTY_PATH);
  return ErrnoStatus("execveat", "this program, through a read-only mount");
}

}  // namespace gantry::sys
