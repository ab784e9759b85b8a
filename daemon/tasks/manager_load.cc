// Finding the shims of a former daemon.
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
  task->exit_published = bundles_.IsExitTold(key);
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
  if (bundles_.IsCreating(key)) return TakeBack(task);
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
    status = Connect(task);
  }
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

// Of a shim whose Create was never answered: it may still start, or hang.
void Manager::TakeBack(const TaskPtr& task) {
  log::Warn("taking back a task whose creation was cut off", {{"ns", task->key.ns}, {"id", task->key.id}});
  task->phase = Phase::kEnding;
  parts_.bulk->Submit([this, task] {
    EndUnfinished({task->key, bundles_.Path(task->key), task->binary, options_.host.grpc_address},
                  options_.timeouts.shim_cleanup);
    parts_.loop->Post([this, task] { CleanAfterShim(task); });
  });
}

void Manager::OnLoaded(const TaskPtr& task, absl::StatusOr<std::string> answer) {
  if (task->phase != Phase::kLoading || task->client == nullptr || task->client->closed()) return;
  shim::StateResponse state;
  if (absl::IsNotFound(answer.status())) {
    // A daemon was killed between the shim's start and the container's creation, which may go on. Clients are told from now
    // on that there is no task: should this daemon be killed too, the next one must not find it created.
    log::Warn("ending a shim without a container", {{"ns", task->key.ns}, {"id", task->key.id}});
    if (absl::Status marked = bundles_.MarkCreating(task->key); !marked.ok()) {
      log::Warn("a task that nobody was told of may come back",
                {{"id", task->key.id}, {"reason", std::string(marked.message())}});
    }
    task->phase = Phase::kEnding;
    EndShim(task, [this, task] { CleanAfterShim(task); });
    return;
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
  Settle(task);
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
