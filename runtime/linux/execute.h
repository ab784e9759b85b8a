// Runs a Plan: the parent's side, the clone, and the conversation with the child until it is ready (or, for a
// plan without AwaitStart, until its execve has succeeded).
//
// On an error everything was undone: the child was killed and (unless it is another's child, see
// `clone_parent`) reaped, the cgroup removed, descriptors closed. For single-threaded processes only.
#ifndef GANTRY_RUNTIME_LINUX_EXECUTE_H_
#define GANTRY_RUNTIME_LINUX_EXECUTE_H_

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/oci/state.h"
#include "runtime/plan/plan.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::linux {

struct Executed {
  pid_t pid = 0;
  sys::PidFd pidfd;
  sys::UniqueFd control;  // see message.h; invalid with listen_fd
  bool ordered = false;   // the order to start has been sent
  sys::UniqueFd terminal;
  std::string terminal_name;
  sys::UniqueFd root_mount;
  cgroup::Cgroup cgroup;     // of CreateCgroup
  uint64_t joined_root = 0;  // the MountId of a root that is mounted in a mount namespace of others; else 0
  std::vector<std::string> warnings;
};

struct ExecuteOptions {
  const plan::Plan* plan = nullptr;  // borrowed, like all descriptors here
  int stdio[3] = {0, 1, 2};
  bool clone_parent = false;
  int listen_fd = -1;   // where the child takes its order to start; -1: over Executed::control
  int init_pidfd = -1;  // of JoinProcess
  int init_root = -1;   // of JoinProcess::enter_root: O_PATH
  const cgroup::Cgroup* join_cgroup = nullptr;  // of a plan without CreateCgroup

  // Inherited by the child, which closes it first of all: so that the caller's own close is the last.
  int not_for_child = -1;
  std::string seccomp_cache;  // directory of compiled filters (seccomp_cache.h); empty: none

  bool* cloned = nullptr;  // set once a process exists, also if it fails afterwards; may be null

  // The state document for hooks and the seccomp agent; called with each status before and after the clone.
  std::function<std::string(oci::Status, pid_t)> state;
  // The seccomp agent's document.
  std::function<std::string(pid_t)> agent_message;
  // Runs the hooks of the host; the child waits meanwhile.
  std::function<absl::Status(const plan::HostHooks&, pid_t)> host_hooks;

  // Called once when the process exists: while it is still being set up, or, where hooks of the host come first,
  // when it is ready. An error undoes all.
  std::function<absl::Status(Executed&)> exists;
  // Without listen_fd: sends the order to start along, and does not wait for the child where nothing in it needs an
  // answer. Executed::ordered says whether that was so: then `control` tells how it went.
  bool start_at_once = false;
};

absl::StatusOr<Executed> Execute(const ExecuteOptions& options);

}  // namespace gantry::linux

#endif  // GANTRY_RUNTIME_LINUX_EXECUTE_H_
