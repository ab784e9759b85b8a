// Internal to runtime/linux: the parent's operations before the clone.
#ifndef GANTRY_RUNTIME_LINUX_PREPARE_H_
#define GANTRY_RUNTIME_LINUX_PREPARE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/linux/child.h"
#include "runtime/linux/execute.h"
#include "runtime/plan/plan.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::linux {

// What lives in the parent until the child is ready; `prepared` borrows from it.
struct Preparation {
  std::vector<sys::UniqueFd> slots;
  sys::UniqueFd proc;
  cgroup::Cgroup cgroup;
  bool made_cgroup = false;
  cgroup::NewScope scope;  // of the systemd driver
  std::vector<std::string> warnings;
  std::vector<std::string> resctrl_groups;  // that were made
  std::vector<uint64_t> old_cpus;           // before RunOnCpus; empty: it was not asked for
  cgroup::JoinFds join;
  sys::UniqueFd hook_state, start_hook_state;
  char* shared = nullptr;  // the agent's message
  size_t shared_size = 0;
  const plan::Clone* clone = nullptr;
  Prepared prepared;

  Preparation() = default;
  Preparation(const Preparation&) = delete;
  Preparation& operator=(const Preparation&) = delete;
  ~Preparation();
};

// Runs the operations before Clone and makes all that the child needs. After an error `preparation` may hold a
// cgroup that was made: the caller removes it.
absl::Status Prepare(const ExecuteOptions& options, Preparation* preparation);

// Fills in what depends on the child's pid.
absl::Status FillStates(const ExecuteOptions& options, pid_t pid, Preparation* preparation);

}  // namespace gantry::linux

#endif  // GANTRY_RUNTIME_LINUX_PREPARE_H_
