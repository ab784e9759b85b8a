// Processes that are added to a container.
#include <signal.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"
#include "shim/task/container.h"

namespace gantry::shim {
namespace {

// Of an exec that never ran; nobody is told but those who wait.
constexpr uint32_t kNeverRan = 255;

}  // namespace

bool Container::HasLivingExec() const {
  for (const auto& [id, exec] : execs_) {
    if (exec->state().alive()) return true;
  }
  return false;
}

absl::Status Container::Exec(const std::string& exec_id, StdioPaths paths, std::string process_json) {
  if (exec_id.empty()) return absl::InvalidArgumentError("exec id cannot be empty");
  GANTRY_RETURN_IF_ERROR(init_.state().CheckExec());
  if (execs_.contains(exec_id)) return absl::AlreadyExistsError(absl::StrCat("id ", exec_id));
  auto exec = std::make_unique<ExecProcess>(exec_id, std::move(paths), state::ExecCreated());
  exec->process_json = std::move(process_json);
  execs_[exec_id] = std::move(exec);
  context_->events->ExecAdded(spec_.id, exec_id);
  return absl::OkStatus();
}

void Container::StartExec(ExecProcess* exec, PidDone done) {
  if (absl::Status status = exec->state().CheckStart(); !status.ok()) return done(status);
  if (!init_.state().alive() || init_exit_) {
    return done(
        absl::FailedPreconditionError(absl::StrCat("container ", spec_.id, " init process is not running")));
  }
  if (absl::Status status = init_.state().CheckExec(); !status.ok()) return done(status);
  if (!init_.pidfd().valid()) return done(absl::FailedPreconditionError("init process not created"));
  exec->on_started = std::move(done);
  exec->Enter(state::Starting());
  StdioOwner owner{spec_.id, context_->namespace_name, spec_.io_uid, spec_.io_gid};
  owner.streams = context_->streams;
  absl::StatusOr<std::unique_ptr<ProcessIo>> io = ProcessIo::Open(context_->loop, exec->paths(), owner);
  if (!io.ok()) return FinishExecStart(exec, sys::Annotate(io.status(), "failed to create exec process I/O"));
  if (const pid_t logger = (*io)->logger_pid(); logger != 0) {
    context_->graveyard->Watch(logger, (*io)->TakeLogger());
  }
  exec->SetIo(*std::move(io));
  exec->io()->WhenReady([this, exec](absl::Status status) {
    if (!status.ok())
      return FinishExecStart(exec, sys::Annotate(status, "failed to create exec process I/O"));
    BuildExec(exec);
  });
}

void Container::BuildExec(ExecProcess* exec) {
  ExecJob job;
  job.id = spec_.id;
  job.bundle = spec_.bundle;
  job.process_json = exec->process_json;
  job.terminal = exec->paths().terminal;
  job.stdio = exec->io()->child();
  job.init_pidfd = init_.pidfd().fd();
  job.init_pid = init_.pid();
  job.cgroup = cgroup_;
  Engine::Job socket = engine_->Exec(job);
  if (!socket.ok()) return FinishExecStart(exec, socket.status());
  exec->io()->ChildStarted();
  exec->process_json = std::string();
  context_->reaper->Hold();
  exec->builder = *std::move(socket);
  absl::Status added =
      context_->loop->Add(exec->builder.get(), EPOLLIN, [this, exec](uint32_t) { OnExecBuilt(exec); });
  if (!added.ok()) FinishExecStart(exec, added);
}

void Container::OnExecBuilt(ExecProcess* exec) {
  context_->loop->Remove(exec->builder.get());
  absl::StatusOr<container::ExecProcess> built = FinishExec(exec->builder.get());
  exec->builder.reset();
  absl::Status status = sys::Annotate(built.status(), "OCI runtime exec failed");
  if (built.ok()) status = AdoptExec(exec, *std::move(built));
  context_->reaper->Release();
  // Unwatched, it is reaped like an orphan.
  if (!status.ok() && exec->pidfd().valid()) exec->pidfd().Signal(SIGKILL).IgnoreError();
  FinishExecStart(exec, status);
}

absl::Status Container::AdoptExec(ExecProcess* exec, container::ExecProcess built) {
  for (const std::string& warning : built.warnings) log::Warn(warning, {{"exec", exec->id()}});
  exec->SetProcess(built.pid, std::move(built.pidfd));
  if (built.pty_master.valid()) {
    GANTRY_RETURN_IF_ERROR(exec->io()->AttachTerminal(std::move(built.pty_master)));
  }
  return context_->reaper->Watch(exec->pid(), exec->pidfd(),
                                 [this, exec](sys::ExitStatus exit) { OnExecExit(exec, exit); });
}

void Container::FinishExecStart(ExecProcess* exec, absl::Status status) {
  PidDone done = std::exchange(exec->on_started, nullptr);
  if (status.ok()) {
    exec->Enter(state::Running());
    context_->events->ExecStarted(spec_.id, exec->id(), exec->pid());
    return done(exec->pid());
  }
  context_->graveyard->Bury(exec->TakeIo());
  exec->End(ExitRecord{0, kNeverRan, sys::WallNow()});
  done(absl::UnknownError(status.message()));
  AnnounceInitExit();
}

void Container::OnExecExit(ExecProcess* exec, sys::ExitStatus status) {
  CheckOom();
  const ExitRecord record{exec->pid(), static_cast<uint32_t>(status.Code()), sys::WallNow()};
  context_->graveyard->Bury(exec->TakeIo());
  context_->events->Exit(spec_.id, exec->id(), record.pid, record.status, record.exited_at);
  exec->End(record);
  AnnounceInitExit();
}

absl::Status Container::DeleteExec(const std::string& exec_id, ExitRecord* exit) {
  GANTRY_ASSIGN_OR_RETURN(Process* const exec, Find(exec_id));
  GANTRY_RETURN_IF_ERROR(exec->state().CheckDelete());
  *exit = exec->exit();
  execs_.erase(exec_id);
  return absl::OkStatus();
}

}  // namespace gantry::shim
