// Why a container or a command in it could not be made or started, as three lines and Docker's exit code.
// Thread-safe: plain functions.
#ifndef GANTRY_CMD_GANTRY_COMMANDS_START_ERROR_H_
#define GANTRY_CMD_GANTRY_COMMANDS_START_ERROR_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace gantry::cli {

// For what happens before a task: the image, flags, names.
absl::Status ExplainCreate(const std::string& what, const absl::Status& status);

// For Tasks.Create and Start: 127 where the command does not exist in the container, 126 where it exists and
// cannot be executed, else 125. OK stays OK.
absl::Status ExplainStart(const std::string& what, const std::vector<std::string>& command,
                          const absl::Status& status);

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_COMMANDS_START_ERROR_H_
