// Starts another program: no shell, an exact list of descriptors, nothing inherited by accident.
//
// For the daemon (shims, helpers) and the runtime (hooks). Built on clone3(2) with CLONE_VFORK | CLONE_VM |
// CLONE_PIDFD: the child allocates nothing, and a failed execve is the caller's error, not an exit status.
// Signals are blocked in between, so a handler never runs in the child. Thread-safe.
#ifndef GANTRY_RUNTIME_SYS_SPAWN_H_
#define GANTRY_RUNTIME_SYS_SPAWN_H_

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/sys/pidfd.h"

namespace gantry::sys {

struct SpawnOptions {
  std::string path;               // the program; looked up nowhere. May be relative to `cwd`
  std::vector<std::string> argv;  // argv[0] included; empty: the path alone
  std::vector<std::string> env;   // exactly this, nothing of ours
  std::string cwd;                // empty: ours

  // What the child has open: {ours, number in the child}; all else is closed. 0, 1 and 2 not listed are
  // /dev/null.
  std::vector<std::pair<int, int>> fds;

  enum class Session {
    kInherit,          // ours
    kNewProcessGroup,  // setpgid(0, 0)
    kNewSession,       // setsid()
  };
  Session session = Session::kInherit;

  // The child's parent is init (or the nearest subreaper), not us: for a process that outlives us and that we
  // shall not reap. Costs a second clone3 of a process that shares our memory, and no copy of anything.
  bool orphan = false;

  // The namespaces of another process to be entered first, as for setns(2) on a pidfd; -1: none. Not with
  // CLONE_NEWPID: that takes a second process.
  int setns_pidfd = -1;
  int setns_flags = 0;

  // Sent to the child when the thread that spawned it ends; 0: none. See PR_SET_PDEATHSIG.
  int parent_death_signal = 0;
};

struct Spawned {
  pid_t pid = 0;
  PidFd pidfd;
};

// Signal dispositions and mask of the child are the defaults. The errors name the step: "execve /x: ...".
absl::StatusOr<Spawned> Spawn(const SpawnOptions& options);

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_SPAWN_H_
