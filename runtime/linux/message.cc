#include "runtime/linux/message.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "runtime/sys/status.h"

namespace gantry::linux {

absl::Status StatusOf(const Message& message) {
  const absl::string_view step(message.step, strnlen(message.step, sizeof message.step));
  const absl::string_view detail(message.detail, strnlen(message.detail, sizeof message.detail));
  switch (message.failure) {
    case Failure::kErrno:
      return sys::ErrnoStatus(step, detail, message.error != 0 ? message.error : EIO);
    case Failure::kProgramNotFound:
      if (detail.find('/') != absl::string_view::npos) {
        return absl::NotFoundError(
            absl::StrCat("exec: \"", detail, "\": stat ", detail, ": no such file or directory"));
      }
      return absl::NotFoundError(absl::StrCat("exec: \"", detail, "\": executable file not found in $PATH"));
    case Failure::kProgramDenied:
      return absl::PermissionDeniedError(absl::StrCat(
          "exec: \"", detail, "\": ", message.error == EISDIR ? "is a directory" : "permission denied"));
    case Failure::kOther:
      break;
  }
  return absl::FailedPreconditionError(detail.empty() ? step : absl::StrCat(step, ": ", detail));
}

std::string WarningOf(const Message& message) {
  const absl::string_view step(message.step, strnlen(message.step, sizeof message.step));
  const absl::string_view detail(message.detail, strnlen(message.detail, sizeof message.detail));
  return absl::StrCat(step, detail.empty() ? "" : ": ", detail);
}

int SendMessage(int socket, const Message& message, int fd) {
  struct iovec part = {const_cast<Message*>(&message), sizeof message};
  struct msghdr header = {};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (fd >= 0) {
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    struct cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(rights), &fd, sizeof fd);
  }
  ssize_t n;
  do {
    n = sendmsg(socket, &header, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  return n < 0 ? errno : 0;
}

void AwaitHangup(int socket) {
  struct pollfd hangup = {socket, POLLRDHUP, 0};
  while (poll(&hangup, 1, -1) < 0 && errno == EINTR) {
  }
}

int ReceiveMessage(int socket, Message* message, int* fd, bool nonblocking) {
  if (fd != nullptr) *fd = -1;
  struct iovec part = {message, sizeof *message};
  struct msghdr header = {};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  ssize_t n;
  // ECONNRESET, told once: the peer ended without reading all of ours. What it had sent before is still there.
  do {
    n = recvmsg(socket, &header, MSG_CMSG_CLOEXEC | (nonblocking ? MSG_DONTWAIT : 0));
  } while (n < 0 && (errno == EINTR || errno == ECONNRESET));
  if (n < 0) return errno;
  struct cmsghdr* rights = CMSG_FIRSTHDR(&header);
  if (rights != nullptr && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS &&
      rights->cmsg_len == CMSG_LEN(sizeof(int))) {
    int received;
    memcpy(&received, CMSG_DATA(rights), sizeof received);
    if (fd != nullptr) {
      *fd = received;
    } else {
      close(received);
    }
  }
  if (n == 0) return EPIPE;
  return n == sizeof *message ? 0 : EBADMSG;
}

}  // namespace gantry::linux
