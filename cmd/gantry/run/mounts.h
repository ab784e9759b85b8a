// The mounts that people ask for by -v, --mount and --tmpfs, as mounts of the OCI runtime specification.
// Sources are checked: a missing one is an error here, never an empty directory made on the host.
// Thread-safe: plain functions.
#ifndef GANTRY_CMD_GANTRY_RUN_MOUNTS_H_
#define GANTRY_CMD_GANTRY_RUN_MOUNTS_H_

#include <string>

#include "absl/status/statusor.h"
#include "runtime/oci/spec.h"

namespace gantry::cli {

// "SOURCE:TARGET[:ro|rw]". A relative source is taken from the working directory.
absl::StatusOr<oci::Mount> ParseVolume(const std::string& text);

// "type=bind,source=S,target=T[,readonly]" and "type=tmpfs,target=T[,tmpfs-size=64m][,tmpfs-mode=1777]"; src,
// dst, destination and ro are accepted too, and type defaults to bind.
absl::StatusOr<oci::Mount> ParseMount(const std::string& text);

// "TARGET[:option,option]".
absl::StatusOr<oci::Mount> ParseTmpfs(const std::string& text);

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_RUN_MOUNTS_H_
