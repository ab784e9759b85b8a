// How a container ends: exits, memory, delete.
#include <poll.h>
#include <signal.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"
#include "shim/task/container.h"

namespace gantry::shim {
namespace {

// Processes that were killed leave their cgroup within microseconds of their exit.
constexpr absl::Duration kShortPatience = absl::Milliseconds(50);
constexpr absl::Duration kLongPatience = absl::Seconds(2);

}  // namespace

void Container::OnInitExit(sys::ExitStatus status) {
  // What came first is told first, whatever order the loop found them in.
  CheckOom();
  if (on_started_ && control_.valid()) {
    PollStart();
    FinishStart(absl::AbortedError(
        absl::StrCat("init ended with status ", status.Code(), " before the program was started")));
  }
  init_exit_ = ExitRecord{init_.pid(), static_cast<uint32_t>(status.Code()), sys::WallNow()};
  TakeInitExit();
}

void Container::TakeInitExit() {
  // Another runtime has started it, and has not said so yet: the start is told first. And that it is checkpointed.
  if (!init_exit_ || on_started_ || checkpointing_) return;
  if (&init_.state() == &state::Paused()) cgroup_.Thaw().IgnoreError();
  if (!private_pid_namespace_) {
    if (absl::Status killed = cgroup_.KillAll(SIGKILL); !killed.ok()) {
      log::Error("what init left behind cannot be killed", {{"error", std::string(killed.message())}});
    }
  }
  AnnounceInitExit();
}

void Container::AnnounceInitExit() {
  if (!init_exit_ || HasLivingExec()) return;
  const ExitRecord record = *std::exchange(init_exit_, std::nullopt);
  context_->graveyard->Bury(init_.TakeIo());
  if (absl::Status written = WriteExitRecord(spec_.bundle, record); !written.ok()) {
    log::Warn("the exit is not in the bundle", {{"error", std::string(written.message())}});
  }
  context_->events->Exit(spec_.id, spec_.id, record.pid, record.status, record.exited_at);
  init_.End(record);
  if (on_deleted_) return DeleteInit();
  if (context_->on_init_exit) context_->on_init_exit();
}

// ---- out of memory ---------------------------------------------------------------------------------------

void Container::WatchOom() {
  absl::StatusOr<cgroup::OomWatch> watch = cgroup_.WatchOom();
  if (!watch.ok()) {
    log::Debug("no news of memory", {{"error", std::string(watch.status().message())}});
    return;
  }
  oom_ = *std::move(watch);
  const absl::Status added = context_->loop->Add(oom_->fd(), oom_->events(), [this](uint32_t) { ReadOom(); });
  if (!added.ok()) oom_.reset();
}

void Container::ReadOom() {
  if (oom_ && oom_->Read()) context_->events->Oom(spec_.id);
}

// Before an exit is told: the loop may have found it first.
void Container::CheckOom() {
  if (!oom_) return;
  pollfd news = {oom_->fd(), POLLIN, 0};
  if (poll(&news, 1, 0) == 1) ReadOom();
}

// ---- delete ----------------------------------------------------------------------------------------------

void Container::Delete(const std::string& exec_id, ExitDone done) {
  if (!exec_id.empty()) {
    ExitRecord exit;
    const absl::Status status = DeleteExec(exec_id, &exit);
    return status.ok() ? done(exit) : done(status);
  }
  if (absl::Status status = init_.state().CheckDelete(); !status.ok()) return done(status);
  if (on_deleted_) return done(absl::FailedPreconditionError("another delete is under way"));
  on_deleted_ = std::move(done);
  if (!init_.state().alive()) return DeleteInit();
  if (!init_.pidfd().valid()) {
    // Of a checkpoint, and never started: there is no process.
    init_exit_ = ExitRecord{0, 128 + SIGKILL, sys::WallNow()};
    return AnnounceInitExit();
  }
  // Created, never started. Its exit brings us back.
  if (absl::Status killed = init_.Signal(SIGKILL); !killed.ok() && !absl::IsNotFound(killed)) {
    FinishDelete(killed);
  }
}

// Removal is an event too.
void Container::StopOomWatch() {
  if (!oom_) return;
  context_->loop->Remove(oom_->fd());
  oom_.reset();
}

absl::Status Container::RemoveCgroup() {
  StopOomWatch();
  if (cgroup_.Delete(kShortPatience).ok()) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(cgroup_.KillAll(SIGKILL));
  return cgroup_.Delete(kLongPatience);
}

void Container::Abandon() {
  engine_->Delete(Target()).status().IgnoreError();
  // Nobody is killed: by now a new container of the same name may live there.
  StopOomWatch();
  if (absl::Status removed = cgroup_.Delete(kShortPatience); !removed.ok()) {
    log::Error("the cgroup cannot be removed", {{"error", std::string(removed.message())}});
  }
}

void Container::DeleteInit() {
  StopOomWatch();
  Await(engine_->Delete(Target()), [this](absl::Status status) {
    if (status.ok()) status = RemoveCgroup();
    if (!status.ok()) {
      return FinishDelete(absl::UnknownError(absl::StrCat("failed to delete task: ", status.message())));
    }
    RunPoststop();
  });
}

void Container::RunPoststop() {
  if (!has_poststop_) return FinishDelete(absl::OkStatus());
  has_poststop_ = false;
  RunHooks(HookKind::kPoststop, [this](absl::Status hooks) {
    // runtime.md, Lifecycle 12: a warning, and the container is gone all the same.
    if (!hooks.ok()) log::Warn("poststop hook failed", {{"error", std::string(hooks.message())}});
    FinishDelete(absl::OkStatus());
  });
}

void Container::FinishDelete(absl::Status status) {
  ExitDone done = std::exchange(on_deleted_, nullptr);
  if (!status.ok()) return done(status);
  context_->graveyard->Keep(std::move(root_mount_));
  const ExitRecord& exit = init_.exit();
  context_->events->Delete(spec_.id, exit.pid, exit.status, exit.exited_at);
  done(exit);
}

}  // namespace gantry::shim
