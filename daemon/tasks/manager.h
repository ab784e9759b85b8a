// The task manager: starts shims, speaks to them, finds them again after a restart, and buries the dead.
//
// It runs on the event loop; nothing in it waits. A dead or hung shim costs its own task alone: every call to a shim
// is asynchronous, and each stage of a task's end has its own deadline.
//
// Guarantees:
// - A Create that fails leaves no shim, bundle or socket when its callback runs.
// - After Delete's callback the id is free, though the shim may take a moment more to end.
// - When our shim is killed and its container can go on without it (no terminal, no stdin, outputs to files or nowhere;
//   Linux 6.15), a successor takes it over: the task stays live, and its real exit is reported.
// - Else, when a shim dies, its task is cleaned by the shim's `delete`, its exit (137 unless better is known) and deletion
//   are published once, waiters are answered, and the id is free.
// - Tasks of one group, or of one sandbox, share a shim (manager_share.cc). It is told to end with the last of them, and
//   what is said here of a shim that dies is true of each of its tasks.
// - A task that a former daemon left is live again, or, without a shim, cleaned in the same way.
//
// Thread safety: everything on the loop's thread, callbacks too. Errors of calls: NOT_FOUND for a task that is not
// there (or not any more), else what the shim answered.
#ifndef GANTRY_DAEMON_TASKS_MANAGER_H_
#define GANTRY_DAEMON_TASKS_MANAGER_H_

#include <google/protobuf/any.pb.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "api/proto/containerd/events/task.pb.h"
#include "api/proto/containerd/types/event.pb.h"
#include "daemon/config/config.h"
#include "daemon/events/exchange.h"
#include "daemon/server/worker_pool.h"
#include "daemon/tasks/bundle.h"
#include "daemon/tasks/shim_launch.h"
#include "daemon/tasks/shim_protocol.h"
#include "daemon/tasks/task.h"
#include "runtime/sys/event_loop.h"
#include "runtime/sys/spawn.h"

namespace gantry::tasks {

// What of a container's record makes a task.
struct ContainerRecord {
  std::string runtime;
  google::protobuf::Any runtime_options;
  google::protobuf::Any spec;
  std::string sandbox;  // id of the sandbox that it belongs to, if there is a record of that; else empty
};
// Called on a worker. NOT_FOUND for an unknown container.
using ContainerLookup = std::function<absl::StatusOr<ContainerRecord>(const TaskKey& key)>;

// Where the shim of a live sandbox listens. NOT_FOUND without one. Called on the loop.
using SandboxLookup = std::function<absl::StatusOr<Bootstrap>(const TaskKey& sandbox)>;

struct NewTask {
  std::string runtime_path;         // overrules the container's runtime; may be empty
  shim::CreateTaskRequest request;  // lacks the bundle, and the options unless the client gave some
  // Called on a worker, if set: puts the files of the checkpoint that the task continues into the directory.
  std::function<absl::Status(const std::string& directory)> unpack_checkpoint;
  // Where the shim of the container's sandbox is, if the client knows it: overrules the lookup.
  std::string sandbox_address = {};
  uint32_t sandbox_version = 0;
};

struct ManagerOptions {
  std::string root;
  std::string state;
  ShimHost host;
  std::string path;  // the daemon's PATH
  config::Runtime runtime;
  config::Timeouts timeouts;
};

class Manager {
 public:
  struct Parts {
    sys::EventLoop* loop;
    server::WorkerPool* records;
    server::WorkerPool* bulk;
    events::Exchange* exchange;
    ContainerLookup lookup;
    SandboxLookup sandboxes = nullptr;  // none: there are no sandboxes
  };

  // Makes the folders and starts to find the shims of a former daemon. The pools must be gone before the manager.
  static absl::StatusOr<std::unique_ptr<Manager>> Create(Parts parts, ManagerOptions options);
  ~Manager();
  Manager(const Manager&) = delete;
  Manager& operator=(const Manager&) = delete;

  // Creates the task of a container. The callback gets the pid of init.
  // ALREADY_EXISTS; NOT_FOUND: no such container; FAILED_PRECONDITION: no such shim; else the shim's error.
  struct Ticket {
    bool abandoned = false;
  };
  using CreateCallback = std::function<void(absl::StatusOr<uint32_t> pid)>;
  std::shared_ptr<Ticket> CreateTask(const TaskKey& key, NewTask what, CreateCallback done);
  // The client of a creation went away: what was made is taken down again.
  void Abandon(const TaskKey& key, const std::shared_ptr<Ticket>& ticket);

  // One call to the task's shim. The payload and the answer are messages of containerd.task.v3. Of a task whose shim was
  // killed, or that was just found, it waits (up to `timeout`, then DEADLINE_EXCEEDED) until it is known whether the task
  // goes on. A call that such a death interrupts is made again where that does no harm; else it is answered with
  // UNAVAILABLE when the task goes on (whether it was carried out is not known), and NOT_FOUND when it does not.
  using CallCallback = std::function<void(absl::StatusOr<std::string> answer)>;
  void Call(const TaskKey& key, absl::string_view method, std::string payload, absl::Duration timeout,
            CallCallback done);

  // Deletes the task with its shim. FAILED_PRECONDITION (from the shim) while it runs.
  using DeleteCallback = std::function<void(absl::StatusOr<shim::DeleteResponse>)>;
  void Delete(const TaskKey& key, DeleteCallback done);

  // Calls `done` when the process (exec id empty: init) has ended. Never 0.
  uint64_t Wait(const TaskKey& key, const std::string& exec_id, WaitCallback done);
  // The callback is not called any more. Unknown numbers are ignored.
  void CancelWait(const TaskKey& key, const std::string& exec_id, uint64_t waiter);

  // The live tasks of a namespace.
  std::vector<TaskKey> List(absl::string_view ns) const;
  std::string BundlePath(const TaskKey& key) const { return bundles_.Path(key); }
  const config::Timeouts& timeouts() const { return options_.timeouts; }

  // An event from a shim: remembers what the manager must know, and distributes it.
  absl::Status Forward(containerd::types::Envelope envelope);

  // Answers all waiters with UNAVAILABLE, and calls that still wait for a shim; from now on the end of a connection means nothing.
  void Stop();

 private:
  friend class Launcher;
  using TaskPtr = std::shared_ptr<Task>;
  struct Creation;

  Manager(Parts parts, ManagerOptions options);

  TaskPtr Find(const TaskKey& key) const;
  absl::StatusOr<TaskPtr> FindLive(const TaskKey& key) const;
  void Settle(const TaskPtr& task);
  using KnownCallback = std::function<void(absl::Status waited)>;
  void WhenKnown(const TaskPtr& task, absl::Duration timeout, KnownCallback next);
  void Known(const TaskPtr& task);
  struct Request {
    std::string method, payload;
    absl::Duration timeout;
    // Twice does what once does.
    bool repeatable() const {
      return method == "State" || method == "Pids" || method == "Stats" || method == "Delete";
    }
  };
  void CallTask(const TaskPtr& task, std::shared_ptr<const Request> request, CallCallback done);
  void CallShim(const TaskPtr& task, absl::string_view method, std::string payload, absl::Duration timeout,
                CallCallback done);
  absl::Status ForwardExit(containerd::types::Envelope envelope, const containerd::events::TaskExit& exit);
  void AskWait(const TaskPtr& task, const std::string& exec_id);
  void AnswerWaits(const TaskPtr& task, const std::string& exec_id,
                   absl::StatusOr<shim::WaitResponse> answer);
  void AnswerAllWaits(const TaskPtr& task, const absl::StatusOr<shim::WaitResponse>& answer);

  // manager_create.cc
  absl::Status Prepare(Creation* creation);  // on a worker
  absl::Status MakeBundle(Creation* creation, const ContainerRecord& record);
  absl::StatusOr<sys::PidFd> SpawnOurs(const TaskPtr& task, int init_fd);  // on a worker
  void Launch(std::shared_ptr<Creation> creation, absl::Status prepared);
  void ConnectAndCreate(std::shared_ptr<Creation> creation);
  void StartForeign(std::shared_ptr<Creation> creation);
  void AskStart(std::shared_ptr<Creation> creation);
  void SendCreate(std::shared_ptr<Creation> creation);
  void OnCreated(std::shared_ptr<Creation> creation, absl::StatusOr<std::string> answer);
  void FailCreate(std::shared_ptr<Creation> creation, absl::Status status);
  sys::SpawnOptions SpawnFor(const Task& task, ShimAction action) const;
  absl::Status Connect(const TaskPtr& task);
  void Watch(const TaskPtr& task, sys::PidFd process);
  void OnProcessEnd(const TaskPtr& task);
  void DrainLog(const TaskPtr& task);

  // manager_share.cc
  bool IsShared(const Task& task) const;
  void JoinSandbox(std::shared_ptr<Creation> creation);
  void JoinGroup(std::shared_ptr<Creation> creation);
  void Lead(std::shared_ptr<Creation> creation);
  void LeaveGroup(const TaskPtr& task);
  bool WaitForDeparting(const std::shared_ptr<Creation>& creation);
  void RemoveSocket(const Task& task);

  // manager_end.cc
  void OnShimGone(const TaskPtr& task);
  void BeginEnd(const TaskPtr& task);
  bool Reconnect(const TaskPtr& task);
  void CleanAfterShim(const TaskPtr& task);
  void RunDelete(const TaskPtr& task, std::function<void(shim::DeleteResponse)> done);
  void PublishEnd(const Task& task, const shim::DeleteResponse& end);
  void EndShim(const TaskPtr& task, std::function<void()> done);
  void OnEndTimeout(const TaskPtr& task);
  void Disconnect(const TaskPtr& task);
  void Bury(const TaskPtr& task);
  void OnDeleted(const TaskPtr& task, absl::StatusOr<std::string> answer, const DeleteCallback& done);

  // manager_succeed.cc
  void HoldInit(const TaskPtr& task);
  absl::StatusOr<sys::PidFd> OpenInit(const TaskKey& key) const;                     // on a worker
  absl::StatusOr<sys::PidFd> SpawnSuccessor(const TaskPtr& task, sys::PidFd* init);  // on a worker
  void SucceedOrClean(const TaskPtr& task);
  void OnSuccessor(const TaskPtr& task, absl::StatusOr<sys::PidFd> process);
  void AskWaitsAgain(const TaskPtr& task);

  // manager_load.cc
  absl::Status Load();
  void LoadOne(const TaskKey& key);
  void TakeBack(const TaskPtr& task);
  void EndUnknown(const TaskPtr& task);
  void OnLoaded(const TaskPtr& task, absl::StatusOr<std::string> answer);
  void AskState(const TaskPtr& task);
  void AskProcess(const TaskPtr& task);

  Parts parts_;
  const ManagerOptions options_;
  Bundles bundles_;
  std::map<TaskKey, TaskPtr> tasks_;
  std::set<TaskPtr> departing_;  // deleted, but their shims still end
  uint64_t next_waiter_ = 1;
  bool stopping_ = false;
  const bool exits_are_kept_;  // by this kernel, behind pidfds
};

}  // namespace gantry::tasks

#endif  // GANTRY_DAEMON_TASKS_MANAGER_H_
