// One task as the manager sees it: its shim, how far it is, and who waits for it. Only the manager uses this.
#ifndef GANTRY_DAEMON_TASKS_TASK_H_
#define GANTRY_DAEMON_TASKS_TASK_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "api/proto/containerd/runtime/task/v3/shim.pb.h"
#include "api/ttrpc/client.h"
#include "daemon/tasks/bundle.h"
#include "daemon/tasks/shim_protocol.h"
#include "runtime/sys/event_loop.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::tasks {

namespace shim = containerd::task::v3;

//   kCreating -> kLive -> kEnding -> (gone)
//   kLoading --^            ^
//       |  \----------------|
//   (found at the daemon's start)
//
// A live task may be without a shim for a moment: the old one was killed, and it is not decided yet whether another one
// goes on. Calls wait for that, as they wait for one that is loading: nobody is told that a task is gone which comes
// back, and a task of which that was told does not come back, also not after the daemon's death (Bundles::MarkEnding).
enum class Phase {
  kCreating,  // no client knows it yet
  kLoading,   // a shim was found, and is asked what it has
  kLive,      // calls go to its shim
  kEnding,    // its shim is gone or goes; it counts as not there, but its place is not free yet
};

using WaitCallback = std::function<void(absl::StatusOr<shim::WaitResponse>)>;

// Those who wait for one process. One call to the shim serves them all.
struct WaitGroup {
  bool asked = false;
  std::map<uint64_t, WaitCallback> waiters;
};

// Belongs to the loop's thread, which must also be the last to let go of it: work on a pool hands its reference back
// with what it posts, and keeps none.
struct Task {
  explicit Task(TaskKey k) : key(std::move(k)) {}

  const TaskKey key;
  Phase phase = Phase::kCreating;
  std::string binary;      // the shim's program
  Bootstrap bootstrap;     // where it listens
  std::string address;     // the same, on the loop only: tasks with the same one share a shim
  bool sandboxed = false;  // the shim is its sandbox's
  bool leads = false;      // the shim of its group is being started for it; the others wait
  std::vector<std::function<void()>> when_spawned;
  std::string
      socket_path;  // the socket that the daemon made for it; empty for a foreign shim and for a sandbox's
  std::unique_ptr<ttrpc::Client> client;
  sys::PidFd process;      // the shim, while it is known to live; watched by the loop
  std::string last_words;  // what our shim wrote before it ended in the middle of a creation
  sys::UniqueFd log;       // the reading end of a foreign shim's messages

  uint32_t pid = 0;               // of init, once known
  sys::PidFd init;                // held so that the kernel tells how it ended, should its shim be killed
  int succeeding = 0;             // its shim was killed: the shims since that did not answer yet
  bool shim_killed = false;       // the last one that ended was ended by SIGKILL
  bool exit_published = false;    // init's exit reached the subscribers
  bool delete_published = false;  // so did its deletion
  std::string exec_told;          // the last exit of an exec that reached them; see Bundles::MarkExecTold
  std::map<std::string, WaitGroup> waits;  // by exec id; empty: init
  std::optional<shim::WaitResponse> end;   // how init ended, once the task is deleted or its shim is gone

  bool disconnected = false;  // its connection ended; it is about to be seen whether the shim did too
  sys::EventLoop::TimerId gone_timer = 0;  // then that is decided
  std::function<void()> cancel_start;      // kills the `start` of a foreign shim
  std::function<void()> when_shim_gone;    // set while its end is awaited
  sys::EventLoop::TimerId end_timer = 0;
  bool deleting = false;                            // a client's Delete has yet to be answered by the shim
  std::vector<std::function<void()>> when_deleted;  // those of others, meanwhile
  std::vector<std::function<void()>> when_settled;  // run when it is live or gone
  // Run when it is known who serves it, or that nobody does any more.
  std::vector<std::function<void()>> when_known;
};

}  // namespace gantry::tasks

#endif  // GANTRY_DAEMON_TASKS_TASK_H_
