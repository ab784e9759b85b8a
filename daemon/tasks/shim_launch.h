// How shims are started: of tasks by the manager, of sandboxes by their controller.
//
// Thread-safe: functions without state. Those that start something do short file work: for a worker.
#ifndef GANTRY_DAEMON_TASKS_SHIM_LAUNCH_H_
#define GANTRY_DAEMON_TASKS_SHIM_LAUNCH_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/tasks/bundle.h"
#include "daemon/tasks/shim_protocol.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/spawn.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::tasks {

// What the daemon's shims share.
struct ShimHost {
  std::string grpc_address;
  std::string ttrpc_address;
  std::string daemon_binary;             // for shims that publish by running it
  std::vector<std::string> environment;  // the daemon's, which shims inherit
  std::vector<std::string> shim_env;     // of the configuration
  bool debug = false;
};

// One run of the program `binary` in the bundle of `key`.
sys::SpawnOptions ShimSpawn(const ShimHost& host, const std::string& binary, const TaskKey& key,
                            const std::string& bundle, ShimAction action);

// Starts our shim, which serves a socket that is made here. The short way: the socket exists before its shim, so nobody
// waits for an answer of `start`, and a daemon that is killed here leaves a record of what it was about to start (the
// caller has written it). `init_fd`: for a successor; else -1. What it says goes to <bundle>/shim.log.
absl::StatusOr<sys::PidFd> SpawnServing(const ShimHost& host, const std::string& binary, const TaskKey& key,
                                        const std::string& bundle, const std::string& socket_path,
                                        int init_fd);

// Makes the FIFO for the messages of a foreign shim; its reading end.
absl::StatusOr<sys::UniqueFd> MakeShimLog(const std::string& bundle);
// Passes on what a foreign shim says.
void CopyShimLog(int log);

}  // namespace gantry::tasks

#endif  // GANTRY_DAEMON_TASKS_SHIM_LAUNCH_H_
