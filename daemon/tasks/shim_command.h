// Runs a shim's program for one short errand (`start`, `delete`) without a thread waiting for it.
//
// Everything on the loop's thread.
#ifndef GANTRY_DAEMON_TASKS_SHIM_COMMAND_H_
#define GANTRY_DAEMON_TASKS_SHIM_COMMAND_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "runtime/sys/event_loop.h"
#include "runtime/sys/spawn.h"

namespace gantry::tasks {

// Starts `options` (its descriptors 0 to 2 are set here; in a process group of its own) with `input`, at most one
// pipe full (64 KiB), as its standard input. `done` gets what it wrote to standard output, at most 64 KiB, when it
// has ended with status 0; else an error with what it wrote to standard error. After `timeout` it is killed:
// DEADLINE_EXCEEDED. `done` is called once, from the loop, never from inside. What the program leaves running is
// not waited for. What is returned kills the program early, if it still runs; it may be called at any time.
std::function<void()> RunShimCommand(sys::EventLoop* loop, sys::SpawnOptions options, std::string input,
                                     absl::Duration timeout,
                                     std::function<void(absl::StatusOr<std::string>)> done);

}  // namespace gantry::tasks

#endif  // GANTRY_DAEMON_TASKS_SHIM_COMMAND_H_
