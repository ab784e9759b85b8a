// A container's control group: one directory per hierarchy, made by Create from a Plan, or named again by
// Cgroup(directories) after a restart.
//
// Joining: a process joins by itself, before it unshares its cgroup namespace (CLONE_NEWCGROUP at clone3
// would root the namespace at the parent's cgroup). On v1 a single-threaded process writes "0" to `tasks`:
// 0.02 ms each, where a pid written to cgroup.procs waits 5 to 15 ms for an RCU grace period. On v2 (and on
// the v2 side of a hybrid host) the process is born there: CLONE_INTO_CGROUP. Opened before clone3, used
// after it:
//
//   JoinFds join = *cgroup.OpenForJoin();
//   clone_args.flags |= CLONE_INTO_CGROUP; clone_args.cgroup = join.unified.get();   (if valid)
//   child:  if (const int error = JoinSelf(fds, count, &failed)) ...
//
// A Cgroup holds paths, no descriptors; copying is cheap enough and it may be kept or thrown away. Methods
// are thread-safe against each other. Errors are those of the system calls, with path and value.
#ifndef GANTRY_RUNTIME_CGROUP_CGROUP_H_
#define GANTRY_RUNTIME_CGROUP_CGROUP_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "runtime/cgroup/plan.h"
#include "runtime/cgroup/stats.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::cgroup {

class ScopeHolder;

struct JoinFds {
  std::vector<sys::UniqueFd> tasks;  // v1: `tasks` of each hierarchy, opened for writing
  sys::UniqueFd unified;             // v2: the directory, for CLONE_INTO_CGROUP; invalid if there is none
};

// Puts the calling thread into the cgroups of these `tasks` descriptors. Async-signal-safe: for the child
// after clone3. 0, or errno; then *failed is the index of the descriptor.
int JoinSelf(const int* tasks_fds, size_t count, size_t* failed);

enum class FreezerState { kThawed, kFreezing, kFrozen };

// Tells of out-of-memory kills. Poll `fd` for `events`; when it reports, call Read.
class OomWatch {
 public:
  int fd() const { return fd_.get(); }
  // What to wait for with epoll: EPOLLIN on v1 (an eventfd) and v2 (inotify).
  unsigned events() const;
  // Consumes the notification; true if a process was killed since the last call (or since Open), false for
  // other news, such as the removal of the cgroup.
  bool Read();

 private:
  friend class Cgroup;
  sys::UniqueFd fd_;
  sys::UniqueFd control_;  // v1: memory.oom_control, which must stay open
  std::string counter_;    // the file with the oom_kill line
  uint64_t reported_ = 0;
  bool v2_ = false;
};

// What keeps a new scope of systemd's open until the container's process is in it; nothing without the systemd driver.
// Finish then, or let it go after a failure.
class NewScope {
 public:
  NewScope();
  NewScope(NewScope&&) noexcept;
  NewScope& operator=(NewScope&&) noexcept;
  ~NewScope();

  bool held() const { return holder_ != nullptr; }
  // Lets go of the scope and sets the limits that were put off.
  absl::Status Finish();

 private:
  friend class Cgroup;
  std::unique_ptr<ScopeHolder> holder_;
  Plan late_;
};

class Cgroup {
 public:
  Cgroup() = default;
  explicit Cgroup(std::vector<Directory> directories) : directories_(std::move(directories)) {}

  // Makes the directories and runs the writes of `plan`. A directory that is there already is taken if it
  // holds no process (FAILED_PRECONDITION otherwise). A plan with a scope has systemd make that first, and needs
  // `scope`. After an error everything that was made is gone again.
  static absl::StatusOr<Cgroup> Create(const Plan& plan, NewScope* scope = nullptr);

  // As saved with the container's state, see FormatDirectories.
  const std::vector<Directory>& directories() const { return directories_; }
  bool empty() const { return directories_.empty(); }
  // The directory in the hierarchy that serves `controller` ("memory"; "" for the v2 one); empty if there is
  // none.
  std::string PathOf(absl::string_view controller) const;

  absl::StatusOr<JoinFds> OpenForJoin() const;
  // The cgroup for another process beside `init`: this one, or on v2, when init has moved on into one below and handed
  // controllers down (then nobody may join this one: cgroups(7), "no internal processes"), where init is.
  Cgroup BesideInit(pid_t init) const;

  // All processes in it and below, as the host sees their ids. A directory that is gone counts as empty.
  absl::StatusOr<std::vector<pid_t>> Pids() const;

  // Sends `signal` to each process in it and below. SIGKILL is thorough: cgroup.kill where the kernel has it,
  // else frozen, killed and thawed, again until a round finds nobody (a fork cannot escape). Returns
  // once the signals are sent; the processes may take a moment to die. OK if there is nobody.
  absl::Status KillAll(int signal) const;

  // Returns once the state is reached (bounded: 2 s, then DEADLINE_EXCEEDED and thawed again).
  // FAILED_PRECONDITION naming the freezer if the host has none.
  absl::Status Freeze() const;
  absl::Status Thaw() const;
  absl::StatusOr<FreezerState> Freezer() const;

  absl::StatusOr<Stats> GetStats() const;
  // Applies `resources` (what they leave out stays as it is). After an error part of it may be applied;
  // the container runs on.
  absl::Status Update(const oci::Resources& resources) const;
  absl::StatusOr<OomWatch> WatchOom() const;

  // Has systemd stop the unit, if it made one, and removes all with the cgroups below it. Processes that are still dying are waited for (EBUSY: bounded by
  // `patience`). A directory that is not there is OK. Living processes are not killed: KillAll first.
  absl::Status Delete(absl::Duration patience = absl::Seconds(5)) const;
  // Removes it when no process is in it, without looking at each: true when all of it is gone. False: what is left
  // is there for KillAll and Delete.
  bool DeleteIfEmpty() const;

 private:
  // The directory whose list of processes is asked; null: there is none.
  const Directory* Lister() const;
  const Directory* Find(absl::string_view controller) const;
  absl::Status StopUnit() const;

  std::vector<Directory> directories_;
};

// One line per directory, for a state file; Parse of what Format wrote gives the same back.
std::string FormatDirectories(const std::vector<Directory>& directories);
absl::StatusOr<std::vector<Directory>> ParseDirectories(absl::string_view text);

}  // namespace gantry::cgroup

#endif  // GANTRY_RUNTIME_CGROUP_CGROUP_H_
