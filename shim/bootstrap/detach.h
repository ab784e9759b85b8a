// From a daemon's child to a process of its own.
#ifndef GANTRY_SHIM_BOOTSTRAP_DETACH_H_
#define GANTRY_SHIM_BOOTSTRAP_DETACH_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace gantry::shim {

// Runs `serve` in a child in a session of its own, with / as its working directory, /dev/null as 0, 1 and 2, an
// oom_score_adj one above the inherited one (the daemon's), and as a subreaper. The child ends with `serve`, never
// returns here. `log_path`: a FIFO (the daemon's log) or nothing; the log goes there, and never blocks.
//
// Returns in the caller, at once. A caller that leads a session already was detached by whoever started it: it
// becomes the shim itself, and this never returns.
absl::Status Detach(const std::string& log_path, absl::FunctionRef<void()> serve);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_BOOTSTRAP_DETACH_H_
