// Running the parts of a plan. Internal to runtime/cgroup.
#ifndef GANTRY_RUNTIME_CGROUP_EXECUTE_H_
#define GANTRY_RUNTIME_CGROUP_EXECUTE_H_

#include <cstddef>

#include "absl/status/status.h"
#include "runtime/cgroup/plan.h"

namespace gantry::cgroup::internal {

// The writes in order; those refused with EINVAL once more at the end (see FileWrite).
absl::Status RunWrites(const Plan& plan);
// Makes the controllers of `enable` available in the v2 directory plan.directories[index]. One that cannot be
// enabled is an error only if a write of the plan needs it.
absl::Status EnableControllers(const Plan& plan, size_t index);

}  // namespace gantry::cgroup::internal

#endif  // GANTRY_RUNTIME_CGROUP_EXECUTE_H_
