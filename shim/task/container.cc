#include "shim/task/container.h"

#include <signal.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry::shim {
namespace {

// What the runtime could not do is none of the codes by which clients steer: a missing program is no missing
// task. The message is what they look at.
absl::Status RuntimeError(absl::string_view what, const absl::Status& status) {
  return absl::UnknownError(absl::StrCat(what, ": ", status.message()));
}

}  // namespace

Container::Container(const TaskContext* context, CreateSpec spec)
    : context_(context), spec_(std::move(spec)), init_(spec_.id, spec_.stdio, state::Created()) {}

Container::~Container() {
  for (const sys::UniqueFd* socket : {&builder_, &hooks_, &update_}) {
    if (socket->valid()) context_->loop->Remove(socket->get());
  }
  if (control_.valid()) context_->loop->Remove(control_.fd());
  if (oom_) context_->loop->Remove(oom_->fd());
  for (const auto& [id, exec] : execs_) {
    if (exec->builder.valid()) context_->loop->Remove(exec->builder.get());
  }
}

bool Container::running() const { return (created_ && init_.state().alive()) || HasLivingExec(); }

// ---- create ----------------------------------------------------------------------------------------------

void Container::Create(PidDone done) {
  absl::StatusOr<std::unique_ptr<ProcessIo>> io = ProcessIo::Open(
      context_->loop, spec_.stdio, {spec_.id, context_->namespace_name, spec_.io_uid, spec_.io_gid});
  if (!io.ok()) return done(RuntimeError("failed to create init process I/O", io.status()));
  if (const pid_t logger = (*io)->logger_pid(); logger != 0) {
    context_->graveyard->Watch(logger, (*io)->TakeLogger());
  }
  init_.SetIo(*std::move(io));
  init_.io()->WhenReady([this, done = std::move(done)](absl::Status status) mutable {
    if (!status.ok()) return done(RuntimeError("failed to create init process I/O", status));
    Build(std::move(done));
  });
}

void Container::Build(PidDone done) {
  CreateJob job;
  job.id = spec_.id;
  job.bundle = spec_.bundle;
  job.rootfs = spec_.rootfs;
  job.stdio = init_.io()->child();
  job.terminal = spec_.stdio.terminal;
  job.no_pivot = spec_.no_pivot;
  job.no_new_keyring = spec_.no_new_keyring;
  job.systemd_cgroup = spec_.systemd_cgroup;
  absl::StatusOr<sys::UniqueFd> socket = StartCreate(job);
  if (!socket.ok()) return done(RuntimeError("cannot fork the builder", socket.status()));
  context_->reaper->Hold();
  init_.io()->ChildStarted();
  builder_ = *std::move(socket);
  absl::Status added = context_->loop->Add(
      builder_.get(), EPOLLIN,
      [this, done = std::make_shared<PidDone>(std::move(done))](uint32_t) { OnBuilt(std::move(*done)); });
  if (!added.ok()) log::Error("the builder cannot be watched", {{"error", std::string(added.message())}});
}

void Container::OnBuilt(PidDone done) {
  context_->loop->Remove(builder_.get());
  absl::StatusOr<Created> created = FinishCreate(builder_.get());
  builder_.reset();
  const absl::Status failed = created.status();
  const absl::Status adopted = created.ok() ? Adopt(*std::move(created)) : absl::OkStatus();
  context_->reaper->Release();
  if (!failed.ok()) return done(RuntimeError("OCI runtime create failed", failed));
  if (!adopted.ok()) {
    init_.pidfd().Signal(SIGKILL).IgnoreError();
    RemoveCgroup().IgnoreError();
    return done(RuntimeError("failed to take over the container", adopted));
  }
  created_ = true;
  done(init_.pid());
}

absl::Status Container::Adopt(Created created) {
  for (const std::string& warning : created.container.warnings) log::Warn(warning, {{"id", spec_.id}});
  init_.SetProcess(created.container.pid, std::move(created.container.pidfd));
  control_ = container::StartControl(std::move(created.container.control));
  root_mount_ = std::move(created.container.root_mount);
  cgroup_ = std::move(created.container.cgroup);
  private_pid_namespace_ = created.private_pid_namespace;
  has_poststart_ = created.has_poststart;
  has_poststop_ = created.has_poststop;
  if (created.container.pty_master.valid()) {
    GANTRY_RETURN_IF_ERROR(init_.io()->AttachTerminal(std::move(created.container.pty_master)));
  }
  GANTRY_RETURN_IF_ERROR(context_->reaper->Watch(init_.pid(), init_.pidfd(),
                                                 [this](sys::ExitStatus status) { OnInitExit(status); }));
  WatchOom();
  return absl::OkStatus();
}

// ---- start -----------------------------------------------------------------------------------------------

void Container::Start(const std::string& exec_id, PidDone done) {
  if (!exec_id.empty()) {
    const auto it = execs_.find(exec_id);
    if (it == execs_.end()) return done(Find(exec_id).status());
    return StartExec(it->second.get(), std::move(done));
  }
  if (absl::Status status = init_.state().CheckStart(); !status.ok()) return done(status);
  on_started_ = std::move(done);
  if (absl::Status status = StartInit(); !status.ok()) FinishStart(status);
}

absl::Status Container::StartInit() {
  GANTRY_RETURN_IF_ERROR(control_.Order());
  init_.Enter(state::Starting());
  return context_->loop->Add(control_.fd(), EPOLLIN, [this](uint32_t) { PollStart(); });
}

void Container::PollStart() {
  const absl::StatusOr<container::StartControl::Progress> progress = control_.Poll();
  if (!progress.ok()) return FinishStart(progress.status());
  if (*progress == container::StartControl::Progress::kStarted) FinishStart(absl::OkStatus());
}

void Container::FinishStart(absl::Status status) {
  if (!on_started_) return;
  PidDone done = std::exchange(on_started_, nullptr);
  if (control_.valid()) context_->loop->Remove(control_.fd());
  control_ = container::StartControl();
  if (!status.ok()) return done(RuntimeError("OCI runtime start failed", status));
  init_.Enter(state::Running());
  context_->events->Start(spec_.id, init_.pid());
  if (!has_poststart_) return done(init_.pid());
  RunHooks(HookKind::kPoststart, [this, done = std::move(done)](absl::Status hooks) mutable {
    // runtime.md, Lifecycle 9: a warning, and life goes on.
    if (!hooks.ok()) log::Warn("poststart hook failed", {{"error", std::string(hooks.message())}});
    done(init_.pid());
  });
}

void Container::RunHooks(HookKind kind, Done done) {
  WaitForJob(StartHooks({kind, spec_.id, spec_.bundle, init_.pid()}), &hooks_, std::move(done));
}

void Container::WaitForJob(absl::StatusOr<sys::UniqueFd> socket, sys::UniqueFd* keep, Done done) {
  if (!socket.ok()) return done(socket.status());
  *keep = *std::move(socket);
  auto shared = std::make_shared<Done>(std::move(done));
  absl::Status added = context_->loop->Add(keep->get(), EPOLLIN, [this, keep, shared](uint32_t) {
    context_->loop->Remove(keep->get());
    const sys::UniqueFd job = std::move(*keep);
    Done finished = std::move(*shared);
    finished(FinishJob(job.get()));
  });
  if (!added.ok()) (*shared)(added);
}

// ---- the rest --------------------------------------------------------------------------------------------

absl::StatusOr<Process*> Container::Find(const std::string& exec_id) {
  if (exec_id.empty()) return &init_;
  const auto it = execs_.find(exec_id);
  if (it == execs_.end()) {
    return absl::NotFoundError(absl::StrCat("process does not exist ", exec_id));
  }
  return it->second.get();
}

absl::Status Container::Kill(const std::string& exec_id, int signal, bool all) {
  GANTRY_ASSIGN_OR_RETURN(Process* const process, Find(exec_id));
  if (!exec_id.empty()) return process->Signal(signal);
  GANTRY_RETURN_IF_ERROR(init_.state().CheckKill());
  GANTRY_RETURN_IF_ERROR(all ? cgroup_.KillAll(signal) : init_.Signal(signal));
  // A frozen process dies only when it is thawed; nobody will resume it after this.
  if (signal == SIGKILL && &init_.state() == &state::Paused()) return cgroup_.Thaw();
  return absl::OkStatus();
}

absl::Status Container::Pause() {
  GANTRY_RETURN_IF_ERROR(init_.state().CheckPause());
  if (absl::Status frozen = cgroup_.Freeze(); !frozen.ok()) {
    return RuntimeError("OCI runtime pause failed", frozen);
  }
  init_.Enter(state::Paused());
  context_->events->Paused(spec_.id);
  return absl::OkStatus();
}

absl::Status Container::Resume() {
  GANTRY_RETURN_IF_ERROR(init_.state().CheckResume());
  if (absl::Status thawed = cgroup_.Thaw(); !thawed.ok()) {
    return RuntimeError("OCI runtime resume failed", thawed);
  }
  init_.Enter(state::Running());
  context_->events->Resumed(spec_.id);
  return absl::OkStatus();
}

void Container::Update(const std::string& resources_json, Done done) {
  if (absl::Status status = init_.state().CheckUpdate(); !status.ok()) return done(status);
  if (update_.valid()) return done(absl::FailedPreconditionError("another update is under way"));
  WaitForJob(StartUpdate(resources_json, cgroup_), &update_, std::move(done));
}

absl::StatusOr<cgroup::Stats> Container::Stats() const {
  if (cgroup_.empty()) return absl::NotFoundError("cgroup does not exist");
  return cgroup_.GetStats();
}

absl::StatusOr<std::vector<std::pair<pid_t, std::string>>> Container::Pids() const {
  GANTRY_ASSIGN_OR_RETURN(const std::vector<pid_t> pids, cgroup_.Pids());
  std::vector<std::pair<pid_t, std::string>> result;
  for (const pid_t pid : pids) {
    std::string exec_id;
    for (const auto& [id, exec] : execs_) {
      if (exec->pid() == pid && exec->state().alive()) exec_id = id;
    }
    result.emplace_back(pid, std::move(exec_id));
  }
  return result;
}

}  // namespace gantry::shim
