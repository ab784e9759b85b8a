// The command line of gantry. Thread-safe: a plain function.
#ifndef GANTRY_CMD_GANTRY_COMMANDS_FLAGS_H_
#define GANTRY_CMD_GANTRY_COMMANDS_FLAGS_H_

#include "absl/status/statusor.h"

namespace gantry::cli {

// Reads the command line, runs the command it asks for, and returns the exit code. Help goes to standard
// output. A wrong command line is an error with exit code 125, like every failure of gantry itself.
absl::StatusOr<int> Dispatch(int argc, const char* const* argv);

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_COMMANDS_FLAGS_H_
