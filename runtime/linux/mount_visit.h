// A short stay in another mount namespace: for single-threaded programs, whose root and current directory it
// changes and puts back. Should the way back fail, the program is aborted.
#ifndef GANTRY_RUNTIME_LINUX_MOUNT_VISIT_H_
#define GANTRY_RUNTIME_LINUX_MOUNT_VISIT_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::linux {

class MountVisit {
 public:
  // Into the namespace behind the descriptor, at its root; back when the visit ends.
  static absl::StatusOr<MountVisit> Enter(int namespace_fd);
  MountVisit(MountVisit&&) = default;
  MountVisit& operator=(MountVisit&&) = delete;
  ~MountVisit();

 private:
  MountVisit() = default;
  sys::UniqueFd home_, root_, directory_;
};

// Takes the mount whose root is `mount_fd`, with all below it, out of the namespace. What it holds busy goes with
// the last user.
absl::Status UnmountIn(int namespace_fd, int mount_fd);
// The same for the mount at `path` there, if its MountId is `id`; otherwise nothing happens.
absl::Status UnmountIn(int namespace_fd, const std::string& path, uint64_t id);

// The id of the mount that the descriptor leads into (statx(2), STATX_MNT_ID_UNIQUE: never used again; before Linux
// 6.8 the id of mountinfo). 0 for no descriptor.
uint64_t MountId(int fd);

}  // namespace gantry::linux

#endif  // GANTRY_RUNTIME_LINUX_MOUNT_VISIT_H_
