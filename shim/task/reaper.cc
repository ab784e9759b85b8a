#include "shim/task/reaper.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "runtime/sys/status.h"

namespace gantry::shim {
namespace {

// Between a process's end and its reaping by init, which takes microseconds.
constexpr absl::Duration kForeignRetry = absl::Milliseconds(5);
// A child whose status somebody else took: cannot happen by our own doing.
constexpr sys::ExitStatus kUnknownStatus = {.signaled = false, .value = 255};

}  // namespace

Reaper::Reaper(sys::EventLoop* loop, sys::UniqueFd signals, absl::AnyInvocable<void()> on_terminate)
    : loop_(loop), signals_(std::move(signals)), on_terminate_(std::move(on_terminate)) {}

absl::StatusOr<std::unique_ptr<Reaper>> Reaper::Create(sys::EventLoop* loop,
                                                       absl::AnyInvocable<void()> on_terminate) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  sigaddset(&set, SIGTERM);
  if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return sys::ErrnoStatus("sigprocmask", "");
  sys::UniqueFd signals(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!signals) return sys::ErrnoStatus("signalfd", "");
  std::unique_ptr<Reaper> reaper(new Reaper(loop, std::move(signals), std::move(on_terminate)));
  GANTRY_RETURN_IF_ERROR(
      loop->Add(reaper->signals_.get(), EPOLLIN, [r = reaper.get()](uint32_t) { r->OnSignal(); }));
  return reaper;
}

Reaper::~Reaper() {
  loop_->Remove(signals_.get());
  for (const auto& [pid, child] : children_) {
    loop_->Remove(child->pidfd->fd());
    if (child->retry != 0) loop_->Cancel(child->retry);
  }
}

absl::Status Reaper::Watch(pid_t pid, const sys::PidFd& pidfd, OnExit on_exit) {
  auto child = std::make_unique<Child>();
  child->pidfd = &pidfd;
  child->on_exit = std::move(on_exit);
  return Add(pid, std::move(child));
}

absl::Status Reaper::WatchForeign(pid_t pid, const sys::PidFd& pidfd, OnExit on_exit) {
  auto child = std::make_unique<Child>();
  child->pidfd = &pidfd;
  child->on_exit = std::move(on_exit);
  child->foreign = true;
  return Add(pid, std::move(child));
}

absl::Status Reaper::WatchOwned(pid_t pid, sys::PidFd pidfd, OnExit on_exit) {
  auto child = std::make_unique<Child>();
  child->owned = std::move(pidfd);
  child->pidfd = &child->owned;
  child->on_exit = std::move(on_exit);
  return Add(pid, std::move(child));
}

absl::Status Reaper::Add(pid_t pid, std::unique_ptr<Child> child) {
  GANTRY_RETURN_IF_ERROR(loop_->Add(child->pidfd->fd(), EPOLLIN, [this, pid](uint32_t) { Poll(pid); }));
  children_[pid] = std::move(child);
  return absl::OkStatus();
}

void Reaper::Poll(pid_t pid) {
  const auto it = children_.find(pid);
  if (it == children_.end()) return;
  const std::optional<sys::ExitStatus> status = StatusOf(pid, it->second.get());
  if (!status) return;
  const std::unique_ptr<Child> child = std::move(it->second);
  children_.erase(it);
  loop_->Remove(child->pidfd->fd());
  child->on_exit(*status);
}

std::optional<sys::ExitStatus> Reaper::StatusOf(pid_t pid, Child* child) {
  if (!child->foreign) {
    const absl::StatusOr<std::optional<sys::ExitStatus>> status =
        child->pidfd->Reap(sys::PidFd::Block::kNoWait);
    return status.ok() ? *status : kUnknownStatus;
  }
  if (!child->pidfd->Exited()) return std::nullopt;
  const absl::StatusOr<sys::ExitStatus> status = child->pidfd->ExitInfo();
  if (status.ok()) return *status;
  if (!absl::IsFailedPrecondition(status.status())) return kUnknownStatus;
  // Its parent has not reaped it: only then the kernel tells. Its pidfd would wake us all the time.
  loop_->Remove(child->pidfd->fd());
  child->retry = loop_->RunAfter(kForeignRetry, [this, pid, child] {
    child->retry = 0;
    if (loop_->Add(child->pidfd->fd(), EPOLLIN, [this, pid](uint32_t) { Poll(pid); }).ok()) Poll(pid);
  });
  return std::nullopt;
}

void Reaper::Release() {
  // Later: whoever releases has something to say first.
  if (--holds_ == 0) loop_->RunAfter(absl::ZeroDuration(), [this] { ReapOthers(); });
}

void Reaper::OnSignal() {
  signalfd_siginfo info;
  while (read(signals_.get(), &info, sizeof(info)) == sizeof(info)) {
    // One SIGCHLD may stand for many exits.
    if (info.ssi_signo == SIGCHLD) ReapOthers();
    if (info.ssi_signo == SIGTERM) on_terminate_();
  }
}

void Reaper::ReapOthers() {
  while (true) {
    siginfo_t info = {};
    // Looks only: a watched child's status belongs to its watcher.
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) return;
    if (children_.contains(info.si_pid)) {
      Poll(info.si_pid);
    } else if (holds_ > 0) {
      return;  // the watched ones have their pidfds in the loop
    } else {
      waitid(P_PID, static_cast<id_t>(info.si_pid), &info, WEXITED | WNOHANG);
    }
  }
}

}  // namespace gantry::shim
