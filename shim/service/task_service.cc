#include "shim/service/task_service.h"

#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "api/any/any.h"
#include "api/proto/containerd/types/runc/options/oci.pb.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"
#include "shim/builder/program_engine.h"
#include "shim/service/metrics.h"
#include "shim/service/runtime_options.h"
#include "shim/service/shim_cgroup.h"

namespace gantry::shim {
namespace {

namespace v3 = containerd::task::v3;

constexpr const char* kServices[] = {"containerd.task.v2.Task", "containerd.task.v3.Task"};

// google.protobuf.Empty, serialized.
void RespondEmpty(ttrpc::Responder respond, const absl::Status& status) {
  if (!status.ok()) return respond(status);
  respond(std::string());
}

template <typename Message>
void RespondMessage(ttrpc::Responder respond, const Message& message) {
  respond(message.SerializeAsString());
}

absl::StatusOr<CheckpointJob> ToCheckpoint(const v3::CheckpointTaskRequest& request) {
  containerd::runc::v1::CheckpointOptions options;
  if (request.has_options() && any::Is<containerd::runc::v1::CheckpointOptions>(request.options())) {
    GANTRY_ASSIGN_OR_RETURN(options, any::Unpack<containerd::runc::v1::CheckpointOptions>(request.options()));
  }
  CheckpointJob job;
  job.image_path = request.path();
  job.work_path = options.work_path();
  job.parent_path = options.parent_path();
  job.leave_running = !options.exit();
  job.open_tcp = options.open_tcp();
  job.external_unix_sockets = options.external_unix_sockets();
  job.terminal = options.terminal();
  job.file_locks = options.file_locks();
  job.empty_namespaces = {options.empty_namespaces().begin(), options.empty_namespaces().end()};
  job.cgroups_mode = options.cgroups_mode();
  if (job.image_path.empty() || job.image_path[0] != '/') {
    return absl::InvalidArgumentError(
        absl::StrCat("checkpoint path \"", job.image_path, "\": an absolute path is needed"));
  }
  return job;
}

absl::Status CheckCreate(const v3::CreateTaskRequest& request) {
  if (request.id().empty()) return absl::InvalidArgumentError("task id cannot be empty");
  if (request.bundle().empty() || request.bundle()[0] != '/') {
    return absl::InvalidArgumentError(
        absl::StrCat("bundle \"", request.bundle(), "\": an absolute path is needed"));
  }
  if (!request.checkpoint().empty() && request.checkpoint()[0] != '/') {
    return absl::InvalidArgumentError(
        absl::StrCat("checkpoint \"", request.checkpoint(), "\": an absolute path is needed"));
  }
  return absl::OkStatus();
}

}  // namespace

template <typename Request>
void TaskService::Add(ttrpc::Server* server, absl::string_view name, Method<Request> method) {
  for (const char* service : kServices) {
    server->Register(
        service, name, [this, method](const ttrpc::CallInfo&, std::string payload, ttrpc::Responder respond) {
          Request request;
          if (!request.ParseFromString(payload)) {
            return respond(absl::InvalidArgumentError("the request is no valid protobuf message"));
          }
          (this->*method)(request, std::move(respond));
        });
  }
}

void TaskService::RegisterWith(ttrpc::Server* server) {
  Add(server, "State", &TaskService::State);
  Add(server, "Create", &TaskService::Create);
  Add(server, "Start", &TaskService::Start);
  Add(server, "Delete", &TaskService::Delete);
  Add(server, "Pids", &TaskService::Pids);
  Add(server, "Pause", &TaskService::Pause);
  Add(server, "Resume", &TaskService::Resume);
  Add(server, "Checkpoint", &TaskService::Checkpoint);
  Add(server, "Kill", &TaskService::Kill);
  Add(server, "Exec", &TaskService::Exec);
  Add(server, "ResizePty", &TaskService::ResizePty);
  Add(server, "CloseIO", &TaskService::CloseIO);
  Add(server, "Update", &TaskService::Update);
  Add(server, "Wait", &TaskService::Wait);
  Add(server, "Stats", &TaskService::Stats);
  Add(server, "Connect", &TaskService::Connect);
  Add(server, "Shutdown", &TaskService::Shutdown);
}

absl::Status TaskService::Adopt(const std::string& id, const std::string& bundle, sys::PidFd init) {
  GANTRY_ASSIGN_OR_RETURN(const SavedState state, ReadSavedState(bundle));
  CreateSpec spec;
  spec.id = id;
  spec.bundle = bundle;
  if (state.adopt) {
    spec.stdio.out = state.adopt->out;
    spec.stdio.err = state.adopt->err;
    spec.io_uid = state.adopt->io_uid;
    spec.io_gid = state.adopt->io_gid;
  }
  if (const absl::StatusOr<EngineOptions> engine = ReadEngineRecord(bundle); engine.ok())
    spec.engine = *engine;
  auto container = std::make_unique<Container>(context_, std::move(spec));
  GANTRY_RETURN_IF_ERROR(container->Adopt(state, std::move(init)));
  containers_[id] = std::move(container);
  hooks_.on_created();
  return absl::OkStatus();
}

bool TaskService::running() const {
  for (const auto& [id, container] : containers_) {
    if (!container->created() || container->running()) return true;
  }
  return false;
}

bool TaskService::busy() const {
  for (const auto& [id, container] : containers_) {
    if (container->busy()) return true;
  }
  return false;
}

void TaskService::KillAll(int signal) {
  for (const auto& [id, container] : containers_) {
    if (!container->created() || !container->busy()) continue;
    container->Kill("", signal, /*all=*/true, [](const absl::Status&) {});
  }
}

std::vector<std::string> TaskService::ids() const {
  std::vector<std::string> ids;
  for (const auto& [id, container] : containers_) ids.push_back(id);
  return ids;
}

void TaskService::AbandonOrphans(absl::FunctionRef<bool(const std::string& bundle)> gone) {
  std::vector<std::string> over;
  for (const auto& [id, container] : containers_) {
    if (!container->created() || !gone(container->bundle())) continue;
    if (!container->running() || !container->busy()) {
      container->Abandon();
      over.push_back(id);
    } else if (container->awaits_start()) {
      // Its exit brings us back.
      container->Kill("", SIGKILL, /*all=*/true, [](const absl::Status&) {});
    }
  }
  for (const std::string& id : over) Drop(id);
}

void TaskService::AbandonAll() {
  for (const auto& [id, container] : containers_) container->Abandon();
}

absl::StatusOr<Container*> TaskService::Find(const std::string& id) const {
  const auto it = containers_.find(id);
  if (it == containers_.end() || !it->second->created()) return absl::NotFoundError("container not created");
  return it->second.get();
}

absl::StatusOr<Process*> TaskService::FindProcess(const std::string& id, const std::string& exec_id) const {
  GANTRY_ASSIGN_OR_RETURN(Container* const container, Find(id));
  return container->Find(exec_id);
}

void TaskService::Drop(const std::string& id) {
  auto node = containers_.extract(id);
  if (hooks_.on_dropped) hooks_.on_dropped(node.mapped()->bundle());
  context_->loop->RunAfter(
      absl::ZeroDuration(),
      [this, container = std::shared_ptr<Container>(std::move(node.mapped()))]() mutable {
        container.reset();
        malloc_trim(0);
        if (empty()) hooks_.on_empty();
      });
}

// ---- life ------------------------------------------------------------------------------------------------

void TaskService::Create(const v3::CreateTaskRequest& request, ttrpc::Responder respond) {
  if (absl::Status status = CheckCreate(request); !status.ok()) return respond(status);
  if (containers_.contains(request.id())) {
    return respond(absl::AlreadyExistsError(absl::StrCat("task ", request.id())));
  }
  if (hooks_.may_create) {
    if (absl::Status status = hooks_.may_create(); !status.ok()) return respond(status);
  }
  CreateSpec spec;
  spec.id = request.id();
  spec.bundle = request.bundle();
  spec.checkpoint = request.checkpoint();
  spec.stdio = {request.stdin(), request.stdout(), request.stderr(), request.terminal()};
  for (const auto& mount : request.rootfs()) {
    spec.rootfs.push_back(
        {mount.type(), mount.source(), mount.target(), {mount.options().begin(), mount.options().end()}});
  }
  std::string shim_cgroup;
  absl::Status status = ApplyRuntimeOptions(request.options(), context_->namespace_name, &spec, &shim_cgroup);
  if (status.ok() && !shim_cgroup.empty()) status = JoinShimCgroup(shim_cgroup);
  if (!status.ok()) return respond(status);
  if (hooks_.on_create) hooks_.on_create(request.bundle());
  auto& container = containers_[request.id()];
  container = std::make_unique<Container>(context_, std::move(spec));
  container->Create([this, request, respond = std::move(respond)](absl::StatusOr<pid_t> pid) mutable {
    if (!pid.ok()) {
      respond(pid.status());
      return Drop(request.id());
    }
    Created(request, *pid);
    v3::CreateTaskResponse response;
    response.set_pid(static_cast<uint32_t>(*pid));
    RespondMessage(std::move(respond), response);
    hooks_.on_created();
  });
}

void TaskService::Created(const v3::CreateTaskRequest& request, pid_t pid) {
  containerd::events::TaskCreate event;
  event.set_container_id(request.id());
  event.set_bundle(request.bundle());
  *event.mutable_rootfs() = request.rootfs();
  event.mutable_io()->set_stdin(request.stdin());
  event.mutable_io()->set_stdout(request.stdout());
  event.mutable_io()->set_stderr(request.stderr());
  event.mutable_io()->set_terminal(request.terminal());
  event.set_pid(static_cast<uint32_t>(pid));
  context_->events->Create(event);
}

void TaskService::Start(const v3::StartRequest& request, ttrpc::Responder respond) {
  absl::StatusOr<Container*> container = Find(request.id());
  if (!container.ok()) return respond(container.status());
  (*container)->Start(request.exec_id(), [respond = std::move(respond)](absl::StatusOr<pid_t> pid) mutable {
    if (!pid.ok()) return respond(pid.status());
    v3::StartResponse response;
    response.set_pid(static_cast<uint32_t>(*pid));
    RespondMessage(std::move(respond), response);
  });
}

void TaskService::Delete(const v3::DeleteRequest& request, ttrpc::Responder respond) {
  absl::StatusOr<Container*> container = Find(request.id());
  if (!container.ok()) return respond(container.status());
  (*container)
      ->Delete(request.exec_id(), [this, id = request.id(), init = request.exec_id().empty(),
                                   respond = std::move(respond)](absl::StatusOr<ExitRecord> exit) mutable {
        if (!exit.ok()) return respond(exit.status());
        v3::DeleteResponse response;
        response.set_pid(static_cast<uint32_t>(exit->pid));
        response.set_exit_status(exit->status);
        SetTimestamp(exit->exited_at, response.mutable_exited_at());
        RespondMessage(std::move(respond), response);
        if (init) Drop(id);
      });
}

void TaskService::Shutdown(const v3::ShutdownRequest&, ttrpc::Responder respond) {
  RespondEmpty(std::move(respond), absl::OkStatus());
  if (empty()) hooks_.on_shutdown();
}

// ---- processes -------------------------------------------------------------------------------------------

void TaskService::Exec(const v3::ExecProcessRequest& request, ttrpc::Responder respond) {
  absl::StatusOr<Container*> container = Find(request.id());
  if (!container.ok()) return respond(container.status());
  RespondEmpty(
      std::move(respond),
      (*container)
          ->Exec(request.exec_id(), {request.stdin(), request.stdout(), request.stderr(), request.terminal()},
                 request.spec().value()));
}

void TaskService::Kill(const v3::KillRequest& request, ttrpc::Responder respond) {
  absl::StatusOr<Container*> container = Find(request.id());
  if (!container.ok()) return respond(container.status());
  (*container)
      ->Kill(request.exec_id(), static_cast<int>(request.signal()), request.all(),
             [respond = std::move(respond)](absl::Status status) mutable {
               RespondEmpty(std::move(respond), status);
             });
}

void TaskService::Wait(const v3::WaitRequest& request, ttrpc::Responder respond) {
  absl::StatusOr<Process*> process = FindProcess(request.id(), request.exec_id());
  if (!process.ok()) return respond(process.status());
  (*process)->Wait([respond = std::move(respond)](const ExitRecord& exit) mutable {
    v3::WaitResponse response;
    response.set_exit_status(exit.status);
    SetTimestamp(exit.exited_at, response.mutable_exited_at());
    RespondMessage(std::move(respond), response);
  });
}

void TaskService::State(const v3::StateRequest& request, ttrpc::Responder respond) {
  absl::StatusOr<Container*> container = Find(request.id());
  if (!container.ok()) return respond(container.status());
  absl::StatusOr<Process*> process = (*container)->Find(request.exec_id());
  if (!process.ok()) return respond(process.status());
  // With its container every process of it is paused.
  const ReportedStatus init = (*(*container)->Find(""))->state().reported();
  const ReportedStatus own = (*process)->state().reported();
  v3::StateResponse response;
  response.set_id((*process)->id());
  response.set_bundle((*container)->bundle());
  response.set_pid(static_cast<uint32_t>((*process)->pid()));
  response.set_status(static_cast<containerd::v1::types::Status>(
      init == ReportedStatus::kPaused && own == ReportedStatus::kRunning ? init : own));
  response.set_stdin((*process)->paths().in);
  response.set_stdout((*process)->paths().out);
  response.set_stderr((*process)->paths().err);
  response.set_terminal((*process)->paths().terminal);
  response.set_exit_status((*process)->exit().status);
  SetTimestamp((*process)->exit().exited_at, response.mutable_exited_at());
  response.set_exec_id(request.exec_id());
  RespondMessage(std::move(respond), response);
}

void TaskService::ResizePty(const v3::ResizePtyRequest& request, ttrpc::Responder respond) {
  absl::StatusOr<Process*> process = FindProcess(request.id(), request.exec_id());
  if (!process.ok()) return respond(process.status());
  RespondEmpty(std::move(respond), (*process)->Resize(request.width(), request.height()));
}

void TaskService::CloseIO(const v3::CloseIORequest& request, ttrpc::Responder respond) {
  absl::StatusOr<Process*> process = FindProcess(request.id(), request.exec_id());
  if (!process.ok()) return respond(process.status());
  (*process)->CloseStdin();
  RespondEmpty(std::move(respond), absl::OkStatus());
}

// ---- the container as a whole ----------------------------------------------------------------------------

void TaskService::Pids(const v3::PidsRequest& request, ttrpc::Responder respond) {
  absl::StatusOr<Container*> container = Find(request.id());
  if (!container.ok()) return respond(container.status());
  const auto pids = (*container)->Pids();
  if (!pids.ok()) return respond(pids.status());
  v3::PidsResponse response;
  for (const auto& [pid, exec_id] : *pids) {
    auto* process = response.add_processes();
    process->set_pid(static_cast<uint32_t>(pid));
    if (exec_id.empty()) continue;
    containerd::runc::v1::ProcessDetails details;
    details.set_exec_id(exec_id);
    any::Pack(details, process->mutable_info());
  }
  RespondMessage(std::move(respond), response);
}

void TaskService::Pause(const v3::PauseRequest& request, ttrpc::Responder respond) {
  absl::StatusOr<Container*> container = Find(request.id());
  if (!container.ok()) return respond(container.status());
  (*container)->Pause([respond = std::move(respond)](absl::Status status) mutable {
    RespondEmpty(std::move(respond), status);
  });
}

void TaskService::Resume(const v3::ResumeRequest& request, ttrpc::Responder respond) {
  absl::StatusOr<Container*> container = Find(request.id());
  if (!container.ok()) return respond(container.status());
  (*container)->Resume([respond = std::move(respond)](absl::Status status) mutable {
    RespondEmpty(std::move(respond), status);
  });
}

void TaskService::Checkpoint(const v3::CheckpointTaskRequest& request, ttrpc::Responder respond) {
  absl::StatusOr<Container*> container = Find(request.id());
  if (!container.ok()) return respond(container.status());
  absl::StatusOr<CheckpointJob> job = ToCheckpoint(request);
  if (!job.ok()) return respond(job.status());
  (*container)->Checkpoint(*std::move(job), [respond = std::move(respond)](absl::Status status) mutable {
    RespondEmpty(std::move(respond), status);
  });
}

void TaskService::Update(const v3::UpdateTaskRequest& request, ttrpc::Responder respond) {
  absl::StatusOr<Container*> container = Find(request.id());
  if (!container.ok()) return respond(container.status());
  (*container)
      ->Update(request.resources().value(), [respond = std::move(respond)](absl::Status status) mutable {
        RespondEmpty(std::move(respond), status);
      });
}

void TaskService::Stats(const v3::StatsRequest& request, ttrpc::Responder respond) {
  absl::StatusOr<Container*> container = Find(request.id());
  if (!container.ok()) return respond(container.status());
  const absl::StatusOr<cgroup::Stats> stats = (*container)->Stats();
  if (!stats.ok()) return respond(stats.status());
  v3::StatsResponse response;
  PackMetrics(*stats, response.mutable_stats());
  RespondMessage(std::move(respond), response);
}

void TaskService::Connect(const v3::ConnectRequest& request, ttrpc::Responder respond) {
  v3::ConnectResponse response;
  response.set_shim_pid(static_cast<uint32_t>(getpid()));
  if (absl::StatusOr<Container*> container = Find(request.id()); container.ok()) {
    response.set_task_pid(static_cast<uint32_t>((*container)->pid()));
  }
  response.set_version(GANTRY_VERSION);
  RespondMessage(std::move(respond), response);
}

}  // namespace gantry::shim
