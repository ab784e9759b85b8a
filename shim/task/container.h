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
#include "shim/builder/engine.h"
#include "shim/builder/jobs.h"
#include "shim/publish/task_events.h"
#include "shim/task/exec_journal.h"
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
  StreamHub* streams = nullptr;
};

struct CreateSpec {
  std::string id;
  std::string bundle;
  std::vector<container::RootfsMount> rootfs;
  StdioPaths stdio;
  uint32_t io_uid = 0, io_gid = 0;
  EngineOptions engine;
  // The container continues from here, once it is started; see CreateJob.
  std::string checkpoint, criu_work_path, criu;
  std::string network_namespace;  // see CreateJob
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
  // Created, and Start was never called.
  bool awaits_start() const { return created_ && &init_.state() == &state::Created(); }
  // Has a process, or is about to: one of a checkpoint has none until it is started.
  bool busy() const;

  // Of a container that continues from a checkpoint the pid is 0: it has no process until it is started.
  void Create(PidDone done);
  // Instead of Create: the container is there already, made by a shim that was killed; `state` is of its bundle, which
  // tells of its execs too (exec_journal.h). Nothing is announced but what comes, and exits that were not told yet. One
  // that was not started ends: nobody could start it. Waits for that, and for an exit that was just under way.
  absl::Status Adopt(const SavedState& state, sys::PidFd init);
  // `exec_id` is empty for init, here and below.
  void Start(const std::string& exec_id, PidDone done);
  // Init: ends what is left and removes the cgroup. Refused while a process runs. After success only init's exit
  // is left.
  void Delete(const std::string& exec_id, ExitDone done);
  absl::Status Exec(const std::string& exec_id, StdioPaths paths, std::string process_json);
  void Kill(const std::string& exec_id, int signal, bool all, Done done);
  void Pause(Done done);
  void Resume(Done done);
  void Update(const std::string& resources_json, Done done);
  // `job.criu` is the container's own.
  void Checkpoint(CheckpointJob job, Done done);
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
  absl::Status TakeOver(Created created);
  void AwaitUnstarted();
  StdioOwner InitOwner() const;
  absl::Status StartInit();
  void StartRestored(PidDone done);
  void PollStart();
  void FinishStart(absl::Status status);
  void RunHooks(HookKind kind, Done done);
  // Calls back with the outcome of a job of the engine's: from inside if it is done, or could not be started.
  void Await(Engine::Job job, Done done);
  EngineTarget Target() const { return {spec_.id, spec_.bundle, cgroup_, init_.pidfd(), init_.pid()}; }
  // container_end.cc: exit and delete
  void OnInitExit(sys::ExitStatus status);
  void TakeInitExit();
  void AnnounceInitExit();
  void WatchOom();
  void ReadOom();
  void CheckOom();
  void DeleteInit();
  void RunPoststop();
  void FinishDelete(absl::Status status);
  absl::Status RemoveCgroup();
  void StopOomWatch();
  // container_exec.cc
  void StartExec(ExecProcess* exec, PidDone done);
  void BuildExec(ExecProcess* exec);
  void OnExecBuilt(ExecProcess* exec);
  absl::Status AdoptExec(ExecProcess* exec, container::ExecProcess built);
  void RecordStart(const ExecProcess& exec);
  void TakeOverExecs();
  void TakeOverExec(const ExecEntry& entry);
  void TellExecExit(const std::string& exec_id, const ExitRecord& record);
  void EndExec(ExecProcess* exec, const ExitRecord& record);
  void FinishExecStart(ExecProcess* exec, absl::Status status);
  void OnExecExit(ExecProcess* exec, sys::ExitStatus status);
  absl::Status DeleteExec(const std::string& exec_id, ExitRecord* exit);
  bool HasLivingExec() const;

  const TaskContext* const context_;
  const CreateSpec spec_;
  const std::unique_ptr<Engine> engine_;
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
  std::vector<sys::UniqueFd> jobs_;
  bool updating_ = false;
  bool checkpointing_ = false;
  bool freezing_ = false;  // a pause or resume is under way
  PidDone on_started_;
  ExitDone on_deleted_;
  std::optional<ExitRecord> init_exit_;  // seen, but not told: its start or an exec is not over
  std::map<std::string, std::unique_ptr<ExecProcess>> execs_;
  std::shared_ptr<ExecJournal> journal_;  // if another shim could go on with the container
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_TASK_CONTAINER_H_
