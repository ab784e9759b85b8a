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
// Of an exec that ended while its container had no shim: as containerd says it of what it does not know.
constexpr uint32_t kUnknown = 255;

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
  GANTRY_RETURN_IF_ERROR(context_->reaper->Watch(
      exec->pid(), exec->pidfd(), [this, exec](sys::ExitStatus exit) { OnExecExit(exec, exit); }));
  RecordStart(*exec);
  return absl::OkStatus();
}

void Container::RecordStart(const ExecProcess& exec) {
  if (journal_ == nullptr) return;
  const absl::StatusOr<uint64_t> identity = exec.pidfd().Identity();
  if (!identity.ok()) return;
  ExecEntry entry;
  entry.id = exec.id();
  entry.pid = exec.pid();
  entry.identity = *identity;
  entry.stdio = exec.paths();
  journal_->Started(entry);
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
  EndExec(exec, ExitRecord{exec->pid(), static_cast<uint32_t>(status.Code()), sys::WallNow()});
  AnnounceInitExit();
}

void Container::EndExec(ExecProcess* exec, const ExitRecord& record) {
  context_->graveyard->Bury(exec->TakeIo());
  if (journal_ != nullptr) journal_->Exited(exec->id(), record);
  // Those who wait are told after it is on its way to everybody.
  TellExecExit(exec->id(), record);
  exec->End(record);
}

void Container::TellExecExit(const std::string& exec_id, const ExitRecord& record) {
  absl::AnyInvocable<void()> on_told;
  if (journal_ != nullptr) {
    on_told = [journal = std::weak_ptr<ExecJournal>(journal_), exec_id] {
      if (const std::shared_ptr<ExecJournal> kept = journal.lock()) kept->Told(exec_id);
    };
  }
  context_->events->Exit(spec_.id, exec_id, record.pid, record.status, record.exited_at, std::move(on_told));
}

void Container::TakeOverExecs() {
  for (const ExecEntry& entry : journal_->TakeOver()) TakeOverExec(entry);
}

// Its streams are its own, or went with its shim: nothing of them is held here.
void Container::TakeOverExec(const ExecEntry& entry) {
  ExecProcess* const exec =
      execs_.emplace(entry.id, std::make_unique<ExecProcess>(entry.id, entry.stdio, state::Running()))
          .first->second.get();
  if (entry.exit) {
    exec->SetProcess(entry.pid, sys::PidFd());
    if (!entry.told) TellExecExit(entry.id, *entry.exit);
    return exec->End(*entry.exit);
  }
  absl::StatusOr<sys::PidFd> process = sys::PidFd::Open(entry.pid);
  const bool same = process.ok() && process->Identity().value_or(0) == entry.identity;
  exec->SetProcess(entry.pid, same ? *std::move(process) : sys::PidFd());
  if (same && context_->reaper
                  ->WatchForeign(exec->pid(), exec->pidfd(),
                                 [this, exec](sys::ExitStatus exit) { OnExecExit(exec, exit); })
                  .ok()) {
    return;
  }
  EndExec(exec, ExitRecord{entry.pid, kUnknown, sys::WallNow()});
}

absl::Status Container::DeleteExec(const std::string& exec_id, ExitRecord* exit) {
  GANTRY_ASSIGN_OR_RETURN(Process* const exec, Find(exec_id));
  GANTRY_RETURN_IF_ERROR(exec->state().CheckDelete());
  *exit = exec->exit();
  execs_.erase(exec_id);
  if (journal_ != nullptr) journal_->Deleted(exec_id);
  return absl::OkStatus();
}

}  // namespace gantry::shim
