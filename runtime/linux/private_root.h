// The root file system of a container that somebody else makes (another OCI runtime, criu): mounted where that
// program finds it, and where the host does not see it.
#ifndef GANTRY_RUNTIME_LINUX_PRIVATE_ROOT_H_
#define GANTRY_RUNTIME_LINUX_PRIVATE_ROOT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/plan/planner.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::linux {

// Moves the calling process, which must have one thread, into a mount namespace of its own, and mounts `mounts` (the
// first one is the root) on the directory `target` there. The namespace stays a peer of the host's: what the container
// shares is shared with the host. Only the mount below `target` sends nothing back, so that the root stays out of
// sight; it goes with the last process in the namespace.
//
// The result refers to the root: while it is open, the root's last reference (and the sync of an overlay's upper
// layer) does not go with the container. INVALID_ARGUMENT for mounts that cannot be; see ErrnoOf for the others.
absl::StatusOr<sys::UniqueFd> MountRootPrivately(const std::vector<plan::RootfsMount>& mounts,
                                                 const std::string& target);

}  // namespace gantry::linux

#endif  // GANTRY_RUNTIME_LINUX_PRIVATE_ROOT_H_
