#include "shim/task/container.h"

#include <poll.h>
#include <signal.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/exit_info.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry::shim {
namespace {

// Of an init that never ran.
constexpr uint32_t kNeverRan = 255;
// From the end of a process to that of its traces. Passes in microseconds.
constexpr absl::Duration kEndPatience = absl::Seconds(1);

// What the runtime could not do is none of the codes by which clients steer: a missing program is no missing
// task. The message is what they look at.
absl::Status RuntimeError(absl::string_view what, const absl::Status& status) {
  return absl::UnknownError(absl::StrCat(what, ": ", status.message()));
}

}  // namespace

Container::Container(const TaskContext* context, CreateSpec spec)
    : context_(context),
      spec_(std::move(spec)),
      engine_(MakeEngine(spec_.engine)),
      init_(spec_.id, spec_.stdio, state::Created()) {}

Container::~Container() {
  if (builder_.valid()) context_->loop->Remove(builder_.get());
  for (const sys::UniqueFd& job : jobs_) context_->loop->Remove(job.get());
  if (control_.valid()) context_->loop->Remove(control_.fd());
  if (oom_) context_->loop->Remove(oom_->fd());
  for (const auto& [id, exec] : execs_) {
    if (exec->builder.valid()) context_->loop->Remove(exec->builder.get());
  }
}

bool Container::running() const { return (created_ && init_.state().alive()) || HasLivingExec(); }

bool Container::busy() const {
  if (!created_) return true;
  return running() && !(awaits_start() && init_.pid() == 0);
}

// ---- create ----------------------------------------------------------------------------------------------

void Container::Create(PidDone done) {
  absl::StatusOr<std::unique_ptr<ProcessIo>> io = ProcessIo::Open(context_->loop, spec_.stdio, InitOwner());
  if (!io.ok()) return done(RuntimeError("failed to create init process I/O", io.status()));
  if (const pid_t logger = (*io)->logger_pid(); logger != 0) {
    context_->graveyard->Watch(logger, (*io)->TakeLogger());
  }
  init_.SetIo(*std::move(io));
  init_.io()->WhenReady([this, done = std::move(done)](absl::Status status) mutable {
    if (!status.ok()) return done(RuntimeError("failed to create init process I/O", status));
    if (spec_.checkpoint.empty()) return Build(std::move(done));
    created_ = true;
    done(0);
  });
}

void Container::Build(PidDone done) {
  CreateJob job;
  job.id = spec_.id;
  job.bundle = spec_.bundle;
  job.rootfs = spec_.rootfs;
  job.stdio = init_.io()->child();
  job.terminal = spec_.stdio.terminal;
  job.checkpoint = spec_.checkpoint;
  job.criu_work_path = spec_.criu_work_path;
  job.criu = spec_.criu;
  job.network_namespace = spec_.network_namespace;
  if (CanBeReopened(spec_.stdio)) {
    job.adopt.emplace();
    job.adopt->io_uid = spec_.io_uid;
    job.adopt->io_gid = spec_.io_gid;
    job.adopt->out = spec_.stdio.out;
    job.adopt->err = spec_.stdio.err;
    if (sys::KernelKeepsExitInfo()) journal_ = std::make_shared<ExecJournal>(spec_.bundle);
  }
  Engine::Job socket = engine_->Create(job);
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
  const absl::Status adopted = created.ok() ? TakeOver(*std::move(created)) : absl::OkStatus();
  context_->reaper->Release();
  if (!failed.ok()) {
    return done(RuntimeError(
        spec_.checkpoint.empty() ? "OCI runtime create failed" : "OCI runtime restore failed", failed));
  }
  if (!adopted.ok()) {
    init_.pidfd().Signal(SIGKILL).IgnoreError();
    RemoveCgroup().IgnoreError();
    return done(RuntimeError("failed to take over the container", adopted));
  }
  created_ = true;
  done(init_.pid());
}

// Only what can be reopened needs a name.
StdioOwner Container::InitOwner() const {
  StdioOwner owner{spec_.id, context_->namespace_name, spec_.io_uid, spec_.io_gid};
  if (CanBeReopened(spec_.stdio)) owner.directory = spec_.bundle;
  owner.streams = context_->streams;
  return owner;
}

absl::Status Container::Adopt(const SavedState& state, sys::PidFd init) {
  if (!state.adopt) return absl::FailedPreconditionError("the container's streams went with its shim");
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<ProcessIo> io,
                          ProcessIo::Reopen(context_->loop, spec_.stdio, InitOwner()));
  init_.SetIo(std::move(io));
  init_.SetProcess(state.pid, std::move(init));
  cgroup_ = cgroup::Cgroup(state.cgroup);
  private_pid_namespace_ = state.adopt->private_pid_namespace;
  has_poststop_ = state.adopt->has_poststop;
  journal_ = std::make_shared<ExecJournal>(spec_.bundle);
  const absl::StatusOr<cgroup::FreezerState> frozen = cgroup_.Freezer();
  const bool paused = frozen.ok() && *frozen == cgroup::FreezerState::kFrozen;
  init_.Enter(paused ? state::Paused() : state::Running());
  AwaitUnstarted();
  GANTRY_RETURN_IF_ERROR(context_->reaper->WatchForeign(
      init_.pid(), init_.pidfd(), [this](sys::ExitStatus status) { OnInitExit(status); }));
  WatchOom();
  created_ = true;
  TakeOverExecs();
  // What has ended is not shown as running, not even to who asks first.
  context_->reaper->Poll(init_.pid());
  return absl::OkStatus();
}

void Container::AwaitUnstarted() {
  const absl::StatusOr<bool> executed = sys::ProcessHasExecuted(init_.pid());
  if (executed.ok() && !*executed) {
    // It waits for an order that only its own shim could give, and will see that nobody gives it any more.
    init_.pidfd().Signal(SIGKILL).IgnoreError();
    init_.pidfd().WaitExited(kEndPatience);
  }
  if (!init_.pidfd().Exited()) return;
  const sys::Deadline reaped = sys::Deadline::After(kEndPatience);
  while (absl::IsFailedPrecondition(init_.pidfd().ExitInfo().status()) && !reaped.Passed())
    poll(nullptr, 0, 1);
}

absl::Status Container::TakeOver(Created created) {
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
  if (!spec_.checkpoint.empty()) return StartRestored(std::move(done));
  on_started_ = std::move(done);
  if (!control_.valid()) {
    init_.Enter(state::Starting());
    return Await(engine_->Start(Target()), [this](absl::Status status) { FinishStart(std::move(status)); });
  }
  if (absl::Status status = StartInit(); !status.ok()) FinishStart(status);
}

absl::Status Container::StartInit() {
  GANTRY_RETURN_IF_ERROR(control_.Order());
  init_.Enter(state::Starting());
  return context_->loop->Add(control_.fd(), EPOLLIN, [this](uint32_t) { PollStart(); });
}

void Container::StartRestored(PidDone done) {
  init_.Enter(state::Starting());
  on_started_ = std::move(done);
  Build([this](absl::StatusOr<pid_t> pid) {
    PidDone started = std::exchange(on_started_, nullptr);
    if (!pid.ok()) {
      started(pid.status());
      // It never ran, and its streams are given away: it is over.
      init_exit_ = ExitRecord{0, kNeverRan, sys::WallNow()};
      return AnnounceInitExit();
    }
    init_.Enter(state::Running());
    context_->events->Start(spec_.id, *pid);
    started(*pid);
    TakeInitExit();
  });
}

void Container::PollStart() {
  const absl::StatusOr<container::StartControl::Progress> progress = control_.Poll();
  if (!progress.ok()) return FinishStart(progress.status());
  if (*progress == container::StartControl::Progress::kStarted) FinishStart(absl::OkStatus());
}

void Container::FinishStart(absl::Status status) {
  if (!on_started_) return;
  PidDone done = std::exchange(on_started_, nullptr);
  const bool waits_still = !control_.valid() && !init_exit_;
  if (control_.valid()) context_->loop->Remove(control_.fd());
  control_ = container::StartControl();
  if (!status.ok()) {
    if (waits_still) init_.Enter(state::Created());
    done(RuntimeError("OCI runtime start failed", status));
    return TakeInitExit();
  }
  init_.Enter(state::Running());
  context_->events->Start(spec_.id, init_.pid());
  if (!has_poststart_) {
    done(init_.pid());
    return TakeInitExit();
  }
  RunHooks(HookKind::kPoststart, [this, done = std::move(done)](absl::Status hooks) mutable {
    // runtime.md, Lifecycle 9: a warning, and life goes on.
    if (!hooks.ok()) log::Warn("poststart hook failed", {{"error", std::string(hooks.message())}});
    done(init_.pid());
  });
}

void Container::RunHooks(HookKind kind, Done done) {
  Await(StartHooks({kind, spec_.id, spec_.bundle, init_.pid()}), std::move(done));
}

void Container::Await(Engine::Job job, Done done) {
  if (!job.ok() || !job->valid()) return done(job.status());
  const int number = job->get();
  jobs_.push_back(*std::move(job));
  auto shared = std::make_shared<Done>(std::move(done));
  absl::Status added = context_->loop->Add(number, EPOLLIN, [this, number, shared](uint32_t) {
    Done finished = std::move(*shared);
    context_->loop->Remove(number);
    absl::Status status = FinishJob(number);
    std::erase_if(jobs_, [number](const sys::UniqueFd& one) { return one.get() == number; });
    finished(std::move(status));
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

void Container::Kill(const std::string& exec_id, int signal, bool all, Done done) {
  const absl::StatusOr<Process*> process = Find(exec_id);
  if (!process.ok()) return done(process.status());
  if (!exec_id.empty()) return done((*process)->Signal(signal));
  absl::Status status = init_.state().CheckKill();
  if (status.ok() && !init_.pidfd().valid()) status = absl::FailedPreconditionError("process not created");
  if (!status.ok()) return done(status);
  Await(engine_->Signal(Target(), signal, all),
        [this, signal, done = std::move(done)](absl::Status sent) mutable {
          if (!sent.ok()) return done(ExplainSignal(signal, sent));
          // A frozen process dies only when it is thawed; nobody will resume it after this.
          done(signal == SIGKILL && &init_.state() == &state::Paused() ? cgroup_.Thaw() : absl::OkStatus());
        });
}

void Container::Pause(Done done) {
  absl::Status status = init_.state().CheckPause();
  if (status.ok() && freezing_) status = absl::FailedPreconditionError("a pause or resume is under way");
  if (!status.ok()) return done(status);
  freezing_ = true;
  Await(engine_->Pause(Target()), [this, done = std::move(done)](absl::Status frozen) mutable {
    freezing_ = false;
    if (!frozen.ok()) return done(RuntimeError("OCI runtime pause failed", frozen));
    if (init_.state().alive()) init_.Enter(state::Paused());
    context_->events->Paused(spec_.id);
    done(absl::OkStatus());
  });
}

void Container::Resume(Done done) {
  absl::Status status = init_.state().CheckResume();
  if (status.ok() && freezing_) status = absl::FailedPreconditionError("a pause or resume is under way");
  if (!status.ok()) return done(status);
  freezing_ = true;
  Await(engine_->Resume(Target()), [this, done = std::move(done)](absl::Status thawed) mutable {
    freezing_ = false;
    if (!thawed.ok()) return done(RuntimeError("OCI runtime resume failed", thawed));
    if (init_.state().alive()) init_.Enter(state::Running());
    context_->events->Resumed(spec_.id);
    done(absl::OkStatus());
  });
}

void Container::Update(const std::string& resources_json, Done done) {
  if (absl::Status status = init_.state().CheckUpdate(); !status.ok()) return done(status);
  if (updating_) return done(absl::FailedPreconditionError("another update is under way"));
  updating_ = true;
  Await(engine_->Update(Target(), resources_json),
        [this, done = std::move(done)](absl::Status status) mutable {
          updating_ = false;
          done(std::move(status));
        });
}

void Container::Checkpoint(CheckpointJob job, Done done) {
  absl::Status status = init_.state().CheckCheckpoint();
  if (status.ok() && checkpointing_)
    status = absl::FailedPreconditionError("another checkpoint is under way");
  if (!status.ok()) return done(status);
  checkpointing_ = true;
  job.criu = spec_.criu;
  Await(engine_->Checkpoint(Target(), job),
        [this, path = job.image_path, done = std::move(done)](absl::Status written) mutable {
          checkpointing_ = false;
          if (!written.ok()) return done(RuntimeError("OCI runtime checkpoint failed", written));
          context_->events->Checkpointed(spec_.id, path);
          done(absl::OkStatus());
          TakeInitExit();
        });
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
