// Finding the shims of a former daemon.
#include <signal.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "daemon/server/identifier.h"
#include "daemon/tasks/manager.h"
#include "daemon/tasks/runtime_name.h"
#include "daemon/tasks/unfinished.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry::tasks {

absl::Status Manager::Load() {
  GANTRY_ASSIGN_OR_RETURN(const std::vector<TaskKey> keys, bundles_.List());
  // Connecting to a unix socket answers at once, also when nobody serves it; all that may take time comes later, from
  // the loop, for each on its own.
  bundles_.RemoveStraySockets(keys, options_.host.grpc_address);
  for (const TaskKey& key : keys) {
    if (server::ValidateIdentifier("namespace", key.ns).ok() &&
        server::ValidateIdentifier("id", key.id).ok()) {
      LoadOne(key);
    } else {
      log::Warn("not a bundle: left alone", {{"path", bundles_.Path(key)}});
    }
  }
  return absl::OkStatus();
}

void Manager::LoadOne(const TaskKey& key) {
  auto task = std::make_shared<Task>(key);
  task->phase = Phase::kLoading;
  // Before its shim says anything: what it tells again is known by that.
  task->pid = bundles_.ReadPid(key);
  task->exit_published = bundles_.IsExitTold(key);
  task->exec_told = bundles_.ReadExecTold(key);
  tasks_.emplace(key, task);
  const absl::StatusOr<std::string> binary = bundles_.ReadBinary(key);
  const absl::StatusOr<Bootstrap> bootstrap = bundles_.ReadBootstrap(key);
  if (!binary.ok()) {
    log::Warn("removing a bundle for which no shim was started", {{"path", bundles_.Path(key)}});
    task->phase = Phase::kEnding;
    Bury(task);
    return;
  }
  task->binary = *binary;
  absl::Status status = bootstrap.status();
  if (bootstrap.ok()) {
    task->bootstrap = *bootstrap;
    task->address = bootstrap->address;
    task->sandboxed = bundles_.IsSandboxed(key);
    // Its own, or its group's.
    absl::string_view path = bootstrap->address;
    if (IsOurShim(task->binary) && !task->sandboxed && absl::ConsumePrefix(&path, "unix://")) {
      task->socket_path = std::string(path);
    }
  }
  if (bundles_.IsCreating(key) || bundles_.IsEnding(key)) return TakeBack(task);
  if (status.ok()) status = Connect(task);
  if (!status.ok()) {
    log::Info("a task has no shim",
              {{"ns", key.ns}, {"id", key.id}, {"reason", std::string(status.message())}});
    return SucceedOrClean(task);
  }
  AskState(task);
}

void Manager::AskState(const TaskPtr& task) {
  shim::StateRequest request;
  request.set_id(task->key.id);
  CallShim(task, "State", request.SerializeAsString(), options_.timeouts.shim_load,
           [this, task](absl::StatusOr<std::string> answer) { OnLoaded(task, std::move(answer)); });
}

// Of a foreign shim whose Create was never answered: it may still start, or hang. And of one that a former daemon was
// ending.
void Manager::TakeBack(const TaskPtr& task) {
  log::Warn("ending a task that nobody knows of", {{"ns", task->key.ns}, {"id", task->key.id}});
  BeginEnd(task);
  if (IsOurShim(task->binary)) {
    if (task->socket_path.empty() || !Connect(task).ok()) return CleanAfterShim(task);
    return EndUnknown(task);
  }
  parts_.bulk->Submit([this, task = task]() mutable {
    EndUnfinished({task->key, bundles_.Path(task->key), task->binary, options_.host.grpc_address},
                  options_.timeouts.shim_cleanup);
    parts_.loop->Post([this, task = std::move(task)] { CleanAfterShim(task); });
  });
}

void Manager::OnLoaded(const TaskPtr& task, absl::StatusOr<std::string> answer) {
  if (task->phase != Phase::kLoading || task->client == nullptr || task->client->closed()) return;
  shim::StateResponse state;
  if (absl::IsNotFound(answer.status())) {
    // A daemon was killed while a container was created, which may go on; or when it had just been deleted.
    log::Warn("ending a shim without a container", {{"ns", task->key.ns}, {"id", task->key.id}});
    AnswerAllWaits(task, absl::NotFoundError(absl::StrCat("no task ", task->key.id)));
    BeginEnd(task);
    return EndUnknown(task);
  }
  if (answer.ok() && state.ParseFromString(*answer)) {
    task->pid = state.pid();
    log::Info("found a task again",
              {{"ns", task->key.ns}, {"id", task->key.id}, {"pid", absl::StrCat(task->pid)}});
  } else {
    log::Warn("a shim does not answer; its task is kept",
              {{"ns", task->key.ns}, {"id", task->key.id}, {"error", answer.status().ToString()}});
  }
  task->phase = Phase::kLive;
  AskProcess(task);
  HoldInit(task);
  AskWaitsAgain(task);
  Known(task);
  Settle(task);
}

// Ends the shim of a task that is not there for clients. One of ours that has created no container yet, and so has nothing
// to tell, is killed: it would end only when it has created it.
void Manager::EndUnknown(const TaskPtr& task) {
  shim::ConnectRequest request;
  request.set_id(task->key.id);
  CallShim(task, "Connect", request.SerializeAsString(), options_.timeouts.shim_load,
           [this, task](const absl::StatusOr<std::string>& answer) {
             shim::ConnectResponse response;
             if (!answer.ok() || !response.ParseFromString(*answer) || task->process.valid()) return;
             absl::StatusOr<sys::PidFd> process = sys::PidFd::Open(static_cast<pid_t>(response.shim_pid()));
             if (!process.ok() || task->client == nullptr || task->client->closed()) return;
             if (IsOurShim(task->binary) && !IsShared(*task) && bundles_.ReadPid(task->key) == 0)
               process->Signal(SIGKILL).IgnoreError();
             Watch(task, *std::move(process));
           });
  EndShim(task, [this, task] { CleanAfterShim(task); });
}

// Which process the shim is: to see its end at once, and to end it should it hang.
void Manager::AskProcess(const TaskPtr& task) {
  shim::ConnectRequest request;
  request.set_id(task->key.id);
  CallShim(task, "Connect", request.SerializeAsString(), options_.timeouts.shim_load,
           [this, task](const absl::StatusOr<std::string>& answer) {
             shim::ConnectResponse response;
             if (!answer.ok() || !response.ParseFromString(*answer) || task->phase != Phase::kLive) return;
             absl::StatusOr<sys::PidFd> process = sys::PidFd::Open(static_cast<pid_t>(response.shim_pid()));
             // The answer came over a connection that still stands, so the number is still the shim's.
             if (process.ok() && !task->client->closed()) Watch(task, *std::move(process));
           });
}

}  // namespace gantry::tasks
