#include "shim/service/sandbox_service.h"

#include <signal.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"
#include "shim/builder/jobs.h"
#include "shim/service/metrics.h"
#include "shim/service/runtime_options.h"

namespace gantry::shim {
namespace {

namespace v1 = containerd::runtime::sandbox::v1;

constexpr char kService[] = "containerd.runtime.sandbox.v1.Sandbox";
// The kubelet's words, which containerd's CRI plugin expects.
constexpr char kReady[] = "SANDBOX_READY";
constexpr char kNotReady[] = "SANDBOX_NOTREADY";

// Go's names.
#if defined(__x86_64__)
constexpr char kArchitecture[] = "amd64";
#elif defined(__aarch64__)
constexpr char kArchitecture[] = "arm64";
#elif defined(__riscv)
constexpr char kArchitecture[] = "riscv64";
#else
constexpr char kArchitecture[] = "";
#endif

template <typename Message>
void RespondMessage(ttrpc::Responder respond, const Message& message) {
  respond(message.SerializeAsString());
}

}  // namespace

SandboxService::SandboxService(const TaskContext* context, TaskService* tasks, Hooks hooks)
    : context_(context),
      tasks_(tasks),
      hooks_(std::move(hooks)),
      silent_(nullptr),
      own_context_{context->loop, context->reaper,         context->graveyard,
                   &silent_,      context->namespace_name, [this] { context_->on_init_exit(); }} {}

SandboxService::~SandboxService() {
  if (inspection_.valid()) context_->loop->Remove(inspection_.get());
  if (kill_timer_ != 0) context_->loop->Cancel(kill_timer_);
}

template <typename Request>
void SandboxService::Add(ttrpc::Server* server, absl::string_view name, Method<Request> method) {
  server->Register(kService, name,
                   [this, method](const ttrpc::CallInfo&, std::string payload, ttrpc::Responder respond) {
                     Request request;
                     if (!request.ParseFromString(payload)) {
                       return respond(absl::InvalidArgumentError("the request is no valid protobuf message"));
                     }
                     (this->*method)(request, std::move(respond));
                   });
}

void SandboxService::RegisterWith(ttrpc::Server* server) {
  Add(server, "CreateSandbox", &SandboxService::CreateSandbox);
  Add(server, "StartSandbox", &SandboxService::StartSandbox);
  Add(server, "Platform", &SandboxService::Platform);
  Add(server, "StopSandbox", &SandboxService::StopSandbox);
  Add(server, "WaitSandbox", &SandboxService::WaitSandbox);
  Add(server, "SandboxStatus", &SandboxService::SandboxStatus);
  Add(server, "PingSandbox", &SandboxService::PingSandbox);
  Add(server, "ShutdownSandbox", &SandboxService::ShutdownSandbox);
  Add(server, "SandboxMetrics", &SandboxService::SandboxMetrics);
}

absl::Status SandboxService::Find(const std::string& id) const {
  if (phase_ == Phase::kNone || phase_ == Phase::kCreating || id != id_) {
    return absl::NotFoundError(absl::StrCat("no sandbox ", id, " in this shim"));
  }
  return absl::OkStatus();
}

absl::Status SandboxService::CheckJoin() const {
  if (phase_ != Phase::kStopped && !stopping_) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("sandbox ", id_, " is stopped: it takes no container"));
}

pid_t SandboxService::pid() const { return process_ != nullptr ? process_->pid() : getpid(); }

// ---- create and start ------------------------------------------------------------------------------------

void SandboxService::CreateSandbox(const v1::CreateSandboxRequest& request, ttrpc::Responder respond) {
  if (exists()) return respond(absl::AlreadyExistsError(absl::StrCat("this shim has the sandbox ", id_)));
  if (request.sandbox_id().empty()) return respond(absl::InvalidArgumentError("sandbox id cannot be empty"));
  if (request.bundle_path().empty() || request.bundle_path()[0] != '/') {
    return respond(absl::InvalidArgumentError(
        absl::StrCat("bundle \"", request.bundle_path(), "\": an absolute path is needed")));
  }
  CreateSpec spec;
  spec.id = request.sandbox_id();
  spec.bundle = request.bundle_path();
  spec.network_namespace = request.netns_path();
  for (const auto& mount : request.rootfs()) {
    spec.rootfs.push_back(
        {mount.type(), mount.source(), mount.target(), {mount.options().begin(), mount.options().end()}});
  }
  std::string unused;
  if (absl::Status status = ApplyRuntimeOptions(request.options(), context_->namespace_name, &spec, &unused);
      !status.ok()) {
    return respond(status);
  }
  phase_ = Phase::kCreating;
  id_ = spec.id;
  bundle_ = spec.bundle;
  if (hooks_.on_create) hooks_.on_create(bundle_);
  absl::StatusOr<sys::UniqueFd> inspection = StartFindProcess(bundle_);
  if (!inspection.ok()) return FinishCreate(inspection.status(), std::move(respond));
  inspection_ = *std::move(inspection);
  auto shared =
      std::make_shared<std::pair<CreateSpec, ttrpc::Responder>>(std::move(spec), std::move(respond));
  absl::Status added = context_->loop->Add(inspection_.get(), EPOLLIN, [this, shared](uint32_t) {
    const auto keep = shared;  // Remove destroys this callback
    context_->loop->Remove(inspection_.get());
    absl::Status found = FinishJob(inspection_.get());
    inspection_.reset();
    if (found.ok()) return CreateProcess(std::move(keep->first), std::move(keep->second));
    FinishCreate(absl::IsNotFound(found) ? absl::OkStatus() : found, std::move(keep->second));
  });
  if (!added.ok()) FinishCreate(added, std::move(shared->second));
}

void SandboxService::CreateProcess(CreateSpec spec, ttrpc::Responder respond) {
  process_ = std::make_unique<Container>(&own_context_, std::move(spec));
  process_->Create([this, respond = std::move(respond)](absl::StatusOr<pid_t> pid) mutable {
    FinishCreate(pid.status(), std::move(respond));
  });
}

void SandboxService::FinishCreate(absl::Status status, ttrpc::Responder respond) {
  if (!status.ok()) {
    Forget();
    return respond(status);
  }
  phase_ = Phase::kCreated;
  created_at_ = sys::WallNow();
  if (process_ != nullptr) WatchProcess();
  if (hooks_.on_created) hooks_.on_created();
  RespondMessage(std::move(respond), v1::CreateSandboxResponse());
}

void SandboxService::WatchProcess() {
  (*process_->Find(""))->Wait([this](const ExitRecord& exit) { End(exit.status, exit.exited_at); });
}

void SandboxService::StartSandbox(const v1::StartSandboxRequest& request, ttrpc::Responder respond) {
  absl::Status status = Find(request.sandbox_id());
  if (status.ok() && (phase_ != Phase::kCreated || stopping_)) {
    status = absl::FailedPreconditionError(
        absl::StrCat("sandbox ", id_, phase_ == Phase::kReady ? " is started already" : " is stopped"));
  }
  if (!status.ok()) return respond(status);
  auto finish = [this, respond = std::move(respond)](absl::StatusOr<pid_t> pid) mutable {
    if (!pid.ok()) return respond(pid.status());
    if (phase_ == Phase::kCreated) phase_ = Phase::kReady;
    v1::StartSandboxResponse response;
    response.set_pid(static_cast<uint32_t>(*pid));
    SetTimestamp(created_at_, response.mutable_created_at());
    RespondMessage(std::move(respond), response);
  };
  if (process_ == nullptr) return finish(pid());
  process_->Start("", std::move(finish));
}

// ---- questions -------------------------------------------------------------------------------------------

void SandboxService::Platform(const v1::PlatformRequest& request, ttrpc::Responder respond) {
  if (absl::Status status = Find(request.sandbox_id()); !status.ok()) return respond(status);
  v1::PlatformResponse response;
  response.mutable_platform()->set_os("linux");
  response.mutable_platform()->set_architecture(kArchitecture);
  RespondMessage(std::move(respond), response);
}

void SandboxService::SandboxStatus(const v1::SandboxStatusRequest& request, ttrpc::Responder respond) {
  if (absl::Status status = Find(request.sandbox_id()); !status.ok()) return respond(status);
  v1::SandboxStatusResponse response;
  response.set_sandbox_id(id_);
  response.set_pid(static_cast<uint32_t>(pid()));
  response.set_state(phase_ == Phase::kReady ? kReady : kNotReady);
  SetTimestamp(created_at_, response.mutable_created_at());
  if (phase_ == Phase::kStopped) SetTimestamp(exited_at_, response.mutable_exited_at());
  if (request.verbose()) {
    (*response.mutable_info())["bundle"] = bundle_;
    (*response.mutable_info())["containers"] = absl::StrJoin(tasks_->ids(), ",");
    (*response.mutable_info())["shimPid"] = absl::StrCat(getpid());
  }
  RespondMessage(std::move(respond), response);
}

void SandboxService::PingSandbox(const v1::PingRequest& request, ttrpc::Responder respond) {
  if (absl::Status status = Find(request.sandbox_id()); !status.ok()) return respond(status);
  RespondMessage(std::move(respond), v1::PingResponse());
}

void SandboxService::SandboxMetrics(const v1::SandboxMetricsRequest& request, ttrpc::Responder respond) {
  if (absl::Status status = Find(request.sandbox_id()); !status.ok()) return respond(status);
  v1::SandboxMetricsResponse response;
  response.mutable_metrics()->set_id(id_);
  SetTimestamp(sys::WallNow(), response.mutable_metrics()->mutable_timestamp());
  if (process_ != nullptr) {
    const absl::StatusOr<cgroup::Stats> stats = process_->Stats();
    if (!stats.ok()) return respond(stats.status());
    PackMetrics(*stats, response.mutable_metrics()->mutable_data());
  }
  RespondMessage(std::move(respond), response);
}

void SandboxService::WaitSandbox(const v1::WaitSandboxRequest& request, ttrpc::Responder respond) {
  if (absl::Status status = Find(request.sandbox_id()); !status.ok()) return respond(status);
  std::erase_if(waiters_, [](const ttrpc::Responder& waiter) { return !waiter.wanted(); });
  waiters_.push_back(std::move(respond));
  if (phase_ == Phase::kStopped) End(exit_status_, exited_at_);
}

// ---- the end ---------------------------------------------------------------------------------------------

void SandboxService::End(uint32_t status, absl::Time when) {
  phase_ = Phase::kStopped;
  exit_status_ = status;
  exited_at_ = when;
  v1::WaitSandboxResponse response;
  response.set_exit_status(status);
  SetTimestamp(when, response.mutable_exited_at());
  for (ttrpc::Responder& waiter : std::exchange(waiters_, {})) RespondMessage(std::move(waiter), response);
}

void SandboxService::SignalAll(int signal) {
  tasks_->KillAll(signal);
  if (running()) process_->Kill("", signal, /*all=*/false, [](const absl::Status&) {});
}

void SandboxService::Stop(absl::Duration patience, absl::AnyInvocable<void()> done) {
  when_stopped_.push_back(std::move(done));
  stopping_ = true;
  SignalAll(patience > absl::ZeroDuration() ? SIGTERM : SIGKILL);
  if (kill_timer_ != 0) context_->loop->Cancel(std::exchange(kill_timer_, 0));
  if (patience > absl::ZeroDuration()) {
    kill_timer_ = context_->loop->RunAfter(patience, [this] {
      kill_timer_ = 0;
      SignalAll(SIGKILL);
    });
  }
  CheckStopped();
}

void SandboxService::CheckStopped() {
  if (!stopping_ || tasks_->busy() || running()) return;
  stopping_ = false;
  if (kill_timer_ != 0) context_->loop->Cancel(std::exchange(kill_timer_, 0));
  if (phase_ != Phase::kStopped) End(exit_status_, sys::WallNow());
  for (auto& done : std::exchange(when_stopped_, {})) done();
}

void SandboxService::OnContainersChanged() {
  // One whose creation was under way when the rest was told to end.
  if (stopping_ && kill_timer_ == 0) tasks_->KillAll(SIGKILL);
  CheckStopped();
}

void SandboxService::StopSandbox(const v1::StopSandboxRequest& request, ttrpc::Responder respond) {
  if (absl::Status status = Find(request.sandbox_id()); !status.ok()) return respond(status);
  Stop(absl::Seconds(request.timeout_secs()), [respond = std::move(respond)]() mutable {
    RespondMessage(std::move(respond), v1::StopSandboxResponse());
  });
}

void SandboxService::ShutdownSandbox(const v1::ShutdownSandboxRequest& request, ttrpc::Responder respond) {
  if (absl::Status status = Find(request.sandbox_id()); !status.ok()) return respond(status);
  Stop(absl::ZeroDuration(), [this, respond = std::move(respond)]() mutable { Shut(std::move(respond)); });
}

void SandboxService::Shut(ttrpc::Responder respond) {
  tasks_->AbandonAll();
  auto finish = [this, respond = std::move(respond)](const absl::Status& status) mutable {
    if (!status.ok()) return respond(status);
    RespondMessage(std::move(respond), v1::ShutdownSandboxResponse());
    Forget();
    if (hooks_.on_shutdown) hooks_.on_shutdown();
  };
  if (process_ == nullptr) return finish(absl::OkStatus());
  process_->Delete("", [finish = std::move(finish)](const absl::StatusOr<ExitRecord>& exit) mutable {
    finish(exit.status());
  });
}

void SandboxService::Forget() {
  phase_ = Phase::kNone;
  // It may be calling us.
  context_->loop->RunAfter(
      absl::ZeroDuration(),
      [process = std::shared_ptr<Container>(std::move(process_))]() mutable { process.reset(); });
}

void SandboxService::AbandonIf(absl::FunctionRef<bool(const std::string& bundle)> gone) {
  if (phase_ == Phase::kNone || phase_ == Phase::kCreating || !gone(bundle_)) return;
  if (running()) {
    if (process_->awaits_start()) process_->Kill("", SIGKILL, /*all=*/true, [](const absl::Status&) {});
    return;
  }
  if (process_ != nullptr) process_->Abandon();
  if (phase_ != Phase::kStopped) End(exit_status_, sys::WallNow());
  Forget();
}

}  // namespace gantry::shim
