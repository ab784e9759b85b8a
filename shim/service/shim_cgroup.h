// The runtime option ShimCgroup: the cgroup in which the shim itself is accounted for.
#ifndef GANTRY_SHIM_SERVICE_SHIM_CGROUP_H_
#define GANTRY_SHIM_SERVICE_SHIM_CGROUP_H_

#include <string>

#include "absl/status/status.h"

namespace gantry::shim {

// Moves this process (single-threaded) into the cgroup `path`, absolute below each hierarchy's mount point; it
// must exist in at least one of them, else NOT_FOUND.
absl::Status JoinShimCgroup(const std::string& path);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_SERVICE_SHIM_CGROUP_H_
