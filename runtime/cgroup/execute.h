// Running the parts of a plan. Internal to runtime/cgroup.
#ifndef GANTRY_RUNTIME_CGROUP_EXECUTE_H_
#define GANTRY_RUNTIME_CGROUP_EXECUTE_H_

#include "absl/status/status.h"
#include "runtime/cgroup/plan.h"

namespace gantry::cgroup::internal {

// The writes in order; those refused with EINVAL once more at the end (see FileWrite).
absl::Status RunWrites(const Plan& plan);
// Makes the controllers of directory.enable available in a v2 directory.
absl::Status EnableControllers(const Directory& directory);

}  // namespace gantry::cgroup::internal

#endif  // GANTRY_RUNTIME_CGROUP_EXECUTE_H_
