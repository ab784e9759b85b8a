// Protects the running program's file from the containers it starts.
//
// A container can make the kernel execute /proc/self/exe, or open /proc/PID/exe of a process that joins it, and so
// get hold of the runtime's own file: writable, for a root with enough capabilities, once nobody executes it
// (CVE-2019-5736). A program that runs through a read-only mount of its file, which no mount table
// shows, gives away a file that cannot be opened for writing. Before Linux 5.12 a sealed copy in memory serves.
#ifndef GANTRY_RUNTIME_SYS_SELF_EXE_H_
#define GANTRY_RUNTIME_SYS_SELF_EXE_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::sys {

// A descriptor (O_CLOEXEC) of this program's file through a read-only, detached mount: for execveat(2), or for
// Spawn by its /proc/self/fd path.
absl::StatusOr<UniqueFd> OpenSelfReadOnly();

// Makes /proc/self/exe lead through the mount of `self` (from OpenSelfReadOnly), for this process and those that it
// forks from now on, without executing anything: all of the program that is mapped from its file is mapped anew
// through that mount, then the kernel is told (prctl(2), PR_SET_MM_MAP: needs CAP_SYS_ADMIN or
// CAP_CHECKPOINT_RESTORE, and a kernel with CONFIG_CHECKPOINT_RESTORE). After an error the process runs on as
// before, through the old mount. For single-threaded processes.
absl::Status MoveOntoMount(const UniqueFd& self);

// Both of the above; where the second fails, executes this program again through the mount, with the same
// arguments and environment. A user who may make no mounts gets a sealed copy in memory instead. Does nothing when it already runs through a read-only mount. To be called first in
// main, single-threaded. The descriptor that it returns (it may be none) is needed no more: closing it waits for
// the kernel for some 0.1 ms, which the caller may have a better moment for.
absl::StatusOr<UniqueFd> RunFromReadOnlyMount(char** argv);

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_SELF_EXE_H_
