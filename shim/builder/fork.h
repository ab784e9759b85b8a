// The one place where the shim forks. Single-threaded processes only: then a forked child may do whatever its
// parent may, allocation included, and all of its memory goes with it.
#ifndef GANTRY_SHIM_BUILDER_FORK_H_
#define GANTRY_SHIM_BUILDER_FORK_H_

#include <sys/types.h>

#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::shim {

// fork(2): the child's pid, or 0 in the child.
absl::StatusOr<pid_t> Fork();

// Runs `job` in a forked child, which has 0, 1, 2, the descriptors in `keep` and one end of a SOCK_SEQPACKET
// pair (the argument); signals are as at a program's start. The child ends when `job` returns; it is reaped like
// any unknown child. The result is the other end: readable when the job has sent something, or has died.
//
// `job` runs in the child only; what it changes in memory is gone with it.
absl::StatusOr<sys::UniqueFd> RunForked(const std::vector<int>& keep,
                                        absl::FunctionRef<void(int socket)> job);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_BUILDER_FORK_H_
