// The cgroup of a process that somebody else put there.
#ifndef GANTRY_SHIM_BUILDER_PROCESS_CGROUP_H_
#define GANTRY_SHIM_BUILDER_PROCESS_CGROUP_H_

#include <sys/types.h>

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/cgroup/host.h"
#include "runtime/cgroup/plan.h"

namespace gantry::shim {

// The directories in which a process is, by its /proc/PID/cgroup (`text`). Those where we are ourselves, and roots,
// are left out: they are not the container's alone. Pure.
std::vector<cgroup::Directory> DirectoriesOf(const cgroup::Host& host, absl::string_view text);

absl::StatusOr<std::vector<cgroup::Directory>> DirectoriesOfProcess(pid_t pid);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_BUILDER_PROCESS_CGROUP_H_
