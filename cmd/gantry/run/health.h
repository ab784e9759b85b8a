// The health check of a new container: the image's, changed by what was typed. Pure.
#ifndef GANTRY_CMD_GANTRY_RUN_HEALTH_H_
#define GANTRY_CMD_GANTRY_RUN_HEALTH_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cmd/gantry/run/options.h"

namespace gantry::cli {

// The daemon's labels: what is asked for (an image's `Healthcheck`, in JSON), and what it found.
inline constexpr char kHealthCheckLabel[] = "gantry/healthcheck";
inline constexpr char kHealthLabel[] = "gantry/health";

// The value for kHealthCheckLabel; empty: no checks. INVALID_ARGUMENT names the flag or the image's member.
// `image_config` is the image's configuration document.
absl::StatusOr<std::string> HealthCheckOf(absl::string_view image_config, const RunOptions& options);

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_RUN_HEALTH_H_
