// A container and its processes, as a task service sees them.
//
// Guarantees:
// - create is announced before anything else of the container, a process's start before its exit, every exec's
//   exit before init's, and init's exit before delete.
// - An exit is recorded in the bundle before it is announced, and kept here until Delete.
// - Nothing here waits: what takes time (creating, starting, execing, hooks) goes on elsewhere and calls back. A
//   request that does not fit the state, or another that is under way, is refused at once.
// - A failed Create leaves nothing. A failed start of init leaves init to be waited for and deleted; a failed
//   start of an exec leaves an ended exec.
//
// Codes: NOT_FOUND (no such exec, process ended), ALREADY_EXISTS (exec id), FAILED_PRECONDITION (state),
// INVALID_ARGUMENT, UNKNOWN (the runtime could not: the message says what).
//
// Callbacks are called from the loop, or from inside. Belongs to the loop's thread. Lives until its service
// destroys it, which it may when Create failed or Delete succeeded, outside of this class's callbacks.
#ifndef GANTRY_SHIM_TASK_CONTAINER_H_
#define GANTRY_SHIM_TASK_CONTAINER_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/container/container.h"
#include "runtime/sys/event_loop.h"
#include "runtime/sys/unique_fd.h"
#include "shim/builder/jobs.h"
#include "shim/publish/task_events.h"
#include "shim/task/graveyard.h"
#include "shim/task/process.h"
#include "shim/task/reaper.h"

namespace gantry::shim {

// What all containers of a shim share; borrowed.
struct TaskContext {
  sys::EventLoop* loop = nullptr;
  Reaper* reaper = nullptr;
  Graveyard* graveyard = nullptr;
  TaskEvents* events = nullptr;
  std::string namespace_name;
  // Called when an init has ended and that was announced.
  std::function<void()> on_init_exit;
};

struct CreateSpec {
  std::string id;
  std::string bundle;
  std::vector<container::RootfsMount> rootfs;
  StdioPaths stdio;
  uint32_t io_uid = 0, io_gid = 0;
  bool no_pivot = false;
  bool no_new_keyring = false;
  bool systemd_cgroup = false;
};

class Container {
 public:
  using Done = absl::AnyInvocable<void(absl::Status)>;
  using PidDone = absl::AnyInvocable<void(absl::StatusOr<pid_t>)>;
  using ExitDone = absl::AnyInvocable<void(absl::StatusOr<ExitRecord>)>;

  Container(const TaskContext* context, CreateSpec spec);
  ~Container();
  Container(const Container&) = delete;
  Container& operator=(const Container&) = delete;

  const std::string& id() const { return spec_.id; }
  const std::string& bundle() const { return spec_.bundle; }
  pid_t pid() const { return init_.pid(); }
  // False until Create succeeded: nothing else may be called.
  bool created() const { return created_; }
  // Init has not ended, or an exec has not.
  bool running() const;

  void Create(PidDone done);
  // `exec_id` is empty for init, here and below.
  void Start(const std::string& exec_id, PidDone done);
  // Init: ends what is left and removes the cgroup. Refused while a process runs. After success only init's exit
  // is left.
  void Delete(const std::string& exec_id, ExitDone done);
  absl::Status Exec(const std::string& exec_id, StdioPaths paths, std::string process_json);
  absl::Status Kill(const std::string& exec_id, int signal, bool all);
  absl::Status Pause();
  absl::Status Resume();
  void Update(const std::string& resources_json, Done done);
  absl::StatusOr<Process*> Find(const std::string& exec_id);
  absl::StatusOr<cgroup::Stats> Stats() const;
  // Nobody will ever call Delete: removes the cgroup of a container that has ended.
  void Abandon();
  // Every process, with the id of the exec that it is, or empty.
  absl::StatusOr<std::vector<std::pair<pid_t, std::string>>> Pids() const;

 private:
  struct ExecProcess : Process {
    using Process::Process;
    std::string process_json;
    sys::UniqueFd builder;
    PidDone on_started;
  };

  // container.cc: create and start
  void Build(PidDone done);
  void OnBuilt(PidDone done);
  absl::Status Adopt(Created created);
  absl::Status StartInit();
  void PollStart();
  void FinishStart(absl::Status status);
  void RunHooks(HookKind kind, Done done);
  void WaitForJob(absl::StatusOr<sys::UniqueFd> socket, sys::UniqueFd* keep, Done done);
  // container_end.cc: exit and delete
  void OnInitExit(sys::ExitStatus status);
  void AnnounceInitExit();
  void WatchOom();
  void ReadOom();
  void CheckOom();
  void DeleteInit();
  void FinishDelete(absl::Status status);
  absl::Status RemoveCgroup();
  // container_exec.cc
  void StartExec(ExecProcess* exec, PidDone done);
  void BuildExec(ExecProcess* exec);
  void OnExecBuilt(ExecProcess* exec);
  absl::Status AdoptExec(ExecProcess* exec, container::ExecProcess built);
  void FinishExecStart(ExecProcess* exec, absl::Status status);
  void OnExecExit(ExecProcess* exec, sys::ExitStatus status);
  absl::Status DeleteExec(const std::string& exec_id, ExitRecord* exit);
  bool HasLivingExec() const;

  const TaskContext* const context_;
  const CreateSpec spec_;
  Process init_;
  bool created_ = false;
  container::StartControl control_;
  sys::UniqueFd root_mount_;
  cgroup::Cgroup cgroup_;
  bool private_pid_namespace_ = true;
  bool has_poststart_ = false;
  bool has_poststop_ = false;
  std::optional<cgroup::OomWatch> oom_;
  // Helpers at work; the sockets are in the loop.
  sys::UniqueFd builder_;
  sys::UniqueFd hooks_;
  sys::UniqueFd update_;
  PidDone on_started_;
  ExitDone on_deleted_;
  std::optional<ExitRecord> init_exit_;  // seen, but execs have not all ended
  std::map<std::string, std::unique_ptr<ExecProcess>> execs_;
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_TASK_CONTAINER_H_
