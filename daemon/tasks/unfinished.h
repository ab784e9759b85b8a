// What a foreign shim that was never heard of leaves: processes that work in its bundle, and its socket.
//
// A daemon killed while `start` runs knows neither the shim's pid nor its address; and one that was killed while the
// shim creates the container may find that shim waiting for ever, for a client that is gone. Nobody was told that such a
// task exists, so it is taken back.
//
// Thread-safe; EndUnfinished blocks: for a worker.
#ifndef GANTRY_DAEMON_TASKS_UNFINISHED_H_
#define GANTRY_DAEMON_TASKS_UNFINISHED_H_

#include <string>

#include "absl/time/time.h"
#include "daemon/tasks/bundle.h"

namespace gantry::tasks {

struct Unfinished {
  TaskKey key;
  std::string bundle;
  std::string shim;  // the shim's program
  std::string grpc_address;
};

// Ends every process whose working directory is the bundle, as that of `start` and of what it makes is: the shim is
// killed; a runtime that it was running may finish what it does, so that `delete` finds all of it, and is killed when it
// takes longer than `patience`. Then removes the shim's socket unless somebody serves it: the one that the bundle's file
// `address` names, and the one that containerd's shims choose for the key.
void EndUnfinished(const Unfinished& what, absl::Duration patience);

}  // namespace gantry::tasks

#endif  // GANTRY_DAEMON_TASKS_UNFINISHED_H_
