// Internal to runtime/container: what Create and Exec share.
#ifndef GANTRY_RUNTIME_CONTAINER_INTERNAL_H_
#define GANTRY_RUNTIME_CONTAINER_INTERNAL_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/linux/execute.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::container {

// <state_dir>/start
std::string StartSocketPath(const std::string& state_dir);

// 3 .. 3+count-1 must have been given to us: open, and not close-on-exec as all of ours are.
absl::Status CheckPreservedFds(int count);

// The connection over which a terminal's master goes; invalid when there is no terminal or no socket for it.
absl::StatusOr<sys::UniqueFd> ConnectConsole(bool terminal, const std::string& path, bool allowed_without);

// Sends the master, with the terminal's name as the message.
absl::Status SendTerminal(int console, const linux::Executed& executed);

// Kills what was executed and removes its cgroup: for a failure after Execute.
void AbandonProcess(linux::Executed& executed, bool clone_parent);

}  // namespace gantry::container

#endif  // GANTRY_RUNTIME_CONTAINER_INTERNAL_H_
