// Protects the running program's file from the containers it starts.
//
// A container can make the kernel execute /proc/self/exe, or open /proc/PID/exe of a process that joins it, and so
// get hold of the runtime's own file: writable, for a root with enough capabilities, once nobody executes it
// (CVE-2019-5736). A program that runs through a read-only mount of its file, which no mount table
// shows, gives away a file that cannot be opened for writing.
#ifndef GANTRY_RUNTIME_SYS_SELF_EXE_H_
#define GANTRY_RUNTIME_SYS_SELF_EXE_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::sys {

// A descriptor (O_CLOEXEC) of this program's file through a read-only, detached mount: for execveat(2), or for
// Spawn by its /proc/self/fd path.
absl::StatusOr<UniqueFd> OpenSelfReadOnly();

// Executes this program again, through such a mount, with the same arguments and environment; returns OK at once
// when it already runs through a read-only mount. To be called first in main, single-threaded.
absl::Status ReexecReadOnly(char** argv);

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_SELF_EXE_H_
