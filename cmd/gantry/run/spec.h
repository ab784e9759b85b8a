// An image's config and the flags of `gantry run` into the OCI spec of a container. Pure but for the host's
// files that the flags name (mounts, env files) and gantry's own environment. Thread-safe: plain functions.
#ifndef GANTRY_CMD_GANTRY_RUN_SPEC_H_
#define GANTRY_CMD_GANTRY_RUN_SPEC_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cmd/gantry/archive/documents.h"
#include "cmd/gantry/run/options.h"
#include "runtime/oci/spec.h"

namespace gantry::cli {

// The files of the image that decide who its users are; empty where it has none.
struct UserFiles {
  std::string passwd;
  std::string group;
};

// `id` is the container's, `ns` its namespace. Every flag that is wrong is INVALID_ARGUMENT with the flag's
// name; the result is valid for oci::Validate.
absl::StatusOr<oci::Spec> BuildSpec(const RunOptions& options, const ImageConfig& image,
                                    const UserFiles& files, const std::string& id, const std::string& ns);

// INVALID_ARGUMENT unless `id` is one that containerd takes: letters and digits, with single "-", "_" and "."
// between them, at most 76 characters.
absl::Status ValidateId(absl::string_view id);

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_RUN_SPEC_H_
