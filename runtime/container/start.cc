#include <cerrno>

#include "runtime/container/container.h"
#include "runtime/container/internal.h"
#include "runtime/linux/message.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/status.h"

namespace gantry::container {

absl::StatusOr<StartControl> StartControl::Connect(const std::string& state_dir) {
  auto fd = sys::ConnectUnix(StartSocketPath(state_dir), SOCK_SEQPACKET);
  if (fd.ok()) return StartControl(*std::move(fd));
  if (sys::ErrnoOf(fd.status()) == ECONNREFUSED) {
    return absl::FailedPreconditionError("the container was started already, or has stopped");
  }
  return fd.status();
}

bool WaitsForStart(const std::string& state_dir) {
  return sys::ConnectUnix(StartSocketPath(state_dir), SOCK_SEQPACKET).ok();
}

absl::Status StartControl::Order() {
  linux::Message message;
  message.kind = linux::MessageKind::kStart;
  const int error = linux::SendMessage(fd_.get(), message);
  if (error == EPIPE) return absl::FailedPreconditionError("the container has stopped before it was started");
  return error == 0 ? absl::OkStatus() : sys::ErrnoStatus("send", "the order to start", error);
}

absl::StatusOr<StartControl::Progress> StartControl::Poll() {
  for (;;) {
    linux::Message message;
    const int error = linux::ReceiveMessage(fd_.get(), &message, nullptr, /*nonblocking=*/true);
    if (error == EAGAIN) return Progress::kPending;
    if (error == EPIPE) {
      if (accepted_) return Progress::kStarted;
      if (ordered_) {
        return absl::InternalError(
            "the container's process ended while it was set up (killed, or out of memory?)");
      }
      return absl::FailedPreconditionError("the container was started already, or has stopped");
    }
    if (error != 0) return sys::ErrnoStatus("receive", "the answer to start", error);
    if (message.kind == linux::MessageKind::kFailed) return linux::StatusOf(message);
    if (message.kind == linux::MessageKind::kWarning) warnings_.push_back(linux::WarningOf(message));
    accepted_ = accepted_ || message.kind == linux::MessageKind::kAccepted;
  }
}

absl::Status StartControl::Start() {
  if (!ordered_) GANTRY_RETURN_IF_ERROR(Order());
  for (;;) {
    linux::AwaitHangup(fd_.get());
    GANTRY_ASSIGN_OR_RETURN(const Progress progress, Poll());
    if (progress == Progress::kStarted) return absl::OkStatus();
  }
}

}  // namespace gantry::container
