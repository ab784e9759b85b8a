// `delete`: what a daemon runs when it cannot reach the shim.
#ifndef GANTRY_SHIM_BOOTSTRAP_CLEANUP_H_
#define GANTRY_SHIM_BOOTSTRAP_CLEANUP_H_

#include <string>

#include "absl/status/statusor.h"
#include "shim/bootstrap/options.h"

namespace gantry::shim {

// Kills what is left of the container of options.bundle, removes its cgroups and the shim's socket, and returns
// a serialized containerd.task.v3.DeleteResponse: the exit that the shim recorded, or 137 now. Idempotent; a bundle
// without a container is no error.
absl::StatusOr<std::string> CleanUp(const Options& options);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_BOOTSTRAP_CLEANUP_H_
