// One run of another OCI runtime's program. Blocks: for forked helpers and for `delete`.
#ifndef GANTRY_SHIM_BUILDER_PROGRAM_H_
#define GANTRY_SHIM_BUILDER_PROGRAM_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/container/container.h"
#include "shim/builder/engine.h"

namespace gantry::shim {

struct ProgramCall {
  std::vector<std::string> arguments;  // from the command's name on
  std::string bundle;                  // its log is written there, and removed again
  std::string input;                   // its standard input, unless `stdio` is given
  // The container's own streams, for the commands that hand them on; else null, and what the program writes to its
  // own is a part of the error.
  const container::Stdio* stdio = nullptr;
};

// Runs it to its end. UNKNOWN with the last error of its log, or its stderr, when it fails; NOT_FOUND when the
// program is not installed.
absl::Status RunProgram(const EngineOptions& options, const ProgramCall& call);

// The message of the last error in a log of JSON lines, as --log-format json has them; empty if there is none. Pure.
std::string LastLoggedError(absl::string_view log);

// NOT_FOUND, naming it, when no directory of PATH has `program`.
absl::StatusOr<std::string> FindRuntime(const std::string& program);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_BUILDER_PROGRAM_H_
