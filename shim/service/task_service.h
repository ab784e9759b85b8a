// containerd.task.v2.Task and containerd.task.v3.Task over ttrpc: translate, call, translate.
//
// The two generations differ in the package's name alone, so one set of methods serves both. Belongs to the loop's thread.
#ifndef GANTRY_SHIM_SERVICE_TASK_SERVICE_H_
#define GANTRY_SHIM_SERVICE_TASK_SERVICE_H_

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "api/proto/containerd/runtime/task/v3/shim.pb.h"
#include "api/ttrpc/server.h"
#include "shim/task/container.h"

namespace gantry::shim {

class TaskService {
 public:
  struct Hooks {
    // Whether another container may be made now. Without it: yes.
    absl::AnyInvocable<absl::Status()> may_create = {};
    // A container is about to be made from this bundle; it was created; it is no more; the last one was deleted.
    absl::AnyInvocable<void(const std::string& bundle)> on_create = {};
    absl::AnyInvocable<void()> on_created = {};
    absl::AnyInvocable<void(const std::string& bundle)> on_dropped = {};
    absl::AnyInvocable<void()> on_empty = {};
    // Shutdown was called and no container is left: end once the answer is out.
    absl::AnyInvocable<void()> on_shutdown = {};
  };

  TaskService(const TaskContext* context, Hooks hooks) : context_(context), hooks_(std::move(hooks)) {}
  TaskService(const TaskService&) = delete;
  TaskService& operator=(const TaskService&) = delete;

  void RegisterWith(ttrpc::Server* server);

  // Goes on with the container `id`, whose shim was killed; see Container::Adopt.
  absl::Status Adopt(const std::string& id, const std::string& bundle, sys::PidFd init);

  // Containers that exist or are being made.
  bool empty() const { return containers_.empty(); }
  // A process of ours lives, or is being made.
  bool running() const;
  // The same, but not counting those that have no process until they are started.
  bool busy() const;
  // Sends the signal to every process of every container.
  void KillAll(int signal);
  std::vector<std::string> ids() const;
  // Containers whose bundle is gone have nobody who could ask for them: one that has ended is removed, one that was never
  // started is killed.
  void AbandonOrphans(absl::FunctionRef<bool(const std::string& bundle)> gone);
  // Removes what all of them left behind; nothing runs.
  void AbandonAll();

 private:
  template <typename Request>
  using Method = void (TaskService::*)(const Request& request, ttrpc::Responder respond);
  template <typename Request>
  void Add(ttrpc::Server* server, absl::string_view name, Method<Request> method);

  void State(const containerd::task::v3::StateRequest& request, ttrpc::Responder respond);
  void Create(const containerd::task::v3::CreateTaskRequest& request, ttrpc::Responder respond);
  void Start(const containerd::task::v3::StartRequest& request, ttrpc::Responder respond);
  void Delete(const containerd::task::v3::DeleteRequest& request, ttrpc::Responder respond);
  void Pids(const containerd::task::v3::PidsRequest& request, ttrpc::Responder respond);
  void Pause(const containerd::task::v3::PauseRequest& request, ttrpc::Responder respond);
  void Resume(const containerd::task::v3::ResumeRequest& request, ttrpc::Responder respond);
  void Checkpoint(const containerd::task::v3::CheckpointTaskRequest& request, ttrpc::Responder respond);
  void Kill(const containerd::task::v3::KillRequest& request, ttrpc::Responder respond);
  void Exec(const containerd::task::v3::ExecProcessRequest& request, ttrpc::Responder respond);
  void ResizePty(const containerd::task::v3::ResizePtyRequest& request, ttrpc::Responder respond);
  void CloseIO(const containerd::task::v3::CloseIORequest& request, ttrpc::Responder respond);
  void Update(const containerd::task::v3::UpdateTaskRequest& request, ttrpc::Responder respond);
  void Wait(const containerd::task::v3::WaitRequest& request, ttrpc::Responder respond);
  void Stats(const containerd::task::v3::StatsRequest& request, ttrpc::Responder respond);
  void Connect(const containerd::task::v3::ConnectRequest& request, ttrpc::Responder respond);
  void Shutdown(const containerd::task::v3::ShutdownRequest& request, ttrpc::Responder respond);

  absl::StatusOr<Container*> Find(const std::string& id) const;
  absl::StatusOr<Process*> FindProcess(const std::string& id, const std::string& exec_id) const;
  // Destroys it at the loop's next turn: it may be calling us.
  void Drop(const std::string& id);
  void Created(const containerd::task::v3::CreateTaskRequest& request, pid_t pid);

  const TaskContext* const context_;
  Hooks hooks_;
  std::map<std::string, std::unique_ptr<Container>> containers_;
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_SERVICE_TASK_SERVICE_H_
