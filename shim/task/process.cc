#include "shim/task/process.h"

#include "absl/strings/str_cat.h"
#include "runtime/sys/status.h"

namespace gantry::shim {

void Process::SetProcess(pid_t pid, sys::PidFd pidfd) {
  pid_ = pid;
  pidfd_ = std::move(pidfd);
}

absl::Status Process::Signal(int signal) const {
  GANTRY_RETURN_IF_ERROR(state_->CheckKill());
  if (!pidfd_.valid()) return absl::FailedPreconditionError("process not created");
  return ExplainSignal(signal, pidfd_.Signal(signal));
}

absl::Status ExplainSignal(int signal, const absl::Status& sent) {
  if (absl::IsNotFound(sent)) return absl::NotFoundError("process already finished");
  if (sys::ErrnoOf(sent) == EINVAL)
    return absl::InvalidArgumentError(absl::StrCat("unknown signal ", signal));
  return sent;
}

absl::Status Process::Resize(uint32_t width, uint32_t height) const {
  GANTRY_RETURN_IF_ERROR(state_->CheckResize());
  return io_ != nullptr ? io_->Resize(width, height) : absl::OkStatus();
}

void Process::CloseStdin() {
  if (io_ != nullptr) io_->CloseStdin();
}

void Process::Wait(OnExit callback) {
  if (state_ == &state::Stopped()) return callback(exit_);
  waiters_.push_back(std::move(callback));
}

void Process::End(const ExitRecord& record) {
  exit_ = record;
  Enter(state::Stopped());
  for (OnExit& waiter : std::exchange(waiters_, {})) waiter(exit_);
}

}  // namespace gantry::shim
