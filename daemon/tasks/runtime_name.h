// From the name of a runtime to the program that serves it.
//
//   io.containerd.gantry.v2        our shim
//   io.containerd.runc.v2 (and v1) our shim too, unless the configuration names another program
//   a.b.kata.v2                    containerd-shim-kata-v2
//   /path/to/a/shim                that program
//
// Programs are looked up in PATH, then beside the daemon. Source: containerd's core/runtime/v2/README.md.
// Thread-safe: plain functions.
#ifndef GANTRY_DAEMON_TASKS_RUNTIME_NAME_H_
#define GANTRY_DAEMON_TASKS_RUNTIME_NAME_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::tasks {

inline constexpr char kOurShim[] = "containerd-shim-gantry-v2";

// The program's name (or the absolute path) for `runtime`. `overrides` maps a runtime's name to a program. Pure.
// INVALID_ARGUMENT for a name that stands for none.
absl::StatusOr<std::string> ShimProgram(absl::string_view runtime,
                                        const std::map<std::string, std::string>& overrides);

// The file of `program`: itself if absolute, else the first executable of that name in the directories of `path`
// (as in $PATH; relative ones are skipped), then in `own_directory`. FAILED_PRECONDITION that names both.
absl::StatusOr<std::string> FindProgram(absl::string_view program, absl::string_view path,
                                        absl::string_view own_directory);

// Whether the program at `file` is our shim, which is started the short way (its socket handed over).
bool IsOurShim(absl::string_view file);

}  // namespace gantry::tasks

#endif  // GANTRY_DAEMON_TASKS_RUNTIME_NAME_H_
