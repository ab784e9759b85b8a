// The child: the last steps, from the finished container to execve.
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "runtime/linux/child.h"
#include "runtime/sys/close_range.h"

namespace gantry::linux {
namespace {

// The status of a program that was never started as its holder, who could have told why, was killed.
constexpr int kKilled = 128 + SIGKILL;

// Sends the whole text with the descriptor at its first byte.
int SendText(int socket, const char* text, size_t size, int fd) {
  alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  bool first = true;
  while (size > 0) {
    struct iovec part = {const_cast<char*>(text), size};
    struct msghdr header = {};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    if (first) {
      header.msg_control = control;
      header.msg_controllen = sizeof control;
      struct cmsghdr* rights = CMSG_FIRSTHDR(&header);
      rights->cmsg_level = SOL_SOCKET;
      rights->cmsg_type = SCM_RIGHTS;
      rights->cmsg_len = CMSG_LEN(sizeof(int));
      memcpy(CMSG_DATA(rights), &fd, sizeof fd);
    }
    const ssize_t n = sendmsg(socket, &header, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -1;
    first = false;
    text += n;
    size -= static_cast<size_t>(n);
  }
  return 0;
}

// faccessat2(2); before Linux 5.8 access(2), whose real ids are the effective ones by now.
bool MayExecute(const char* path) {
  if (syscall(SYS_faccessat2, AT_FDCWD, path, X_OK, AT_EACCESS) == 0) return true;
  return errno == ENOSYS && access(path, X_OK) == 0;
}

void DefaultSignals() {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  for (int signal = 1; signal < _NSIG; signal++) sigaction(signal, &action, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

}  // namespace

bool Child::Do(const plan::FindProgram& op) {
  int error = ENOENT;
  for (const std::string& candidate : op.candidates) {
    struct stat st;
    if (stat(candidate.c_str(), &st) != 0) {
      if (errno != ENOENT && errno != ENOTDIR) error = errno;
      continue;
    }
    if (!S_ISREG(st.st_mode)) {
      error = S_ISDIR(st.st_mode) ? EISDIR : EACCES;
      continue;
    }
    if (!MayExecute(candidate.c_str())) {
      error = errno;
      continue;
    }
    program_ = candidate.c_str();
    return true;
  }
  errno = error;
  const bool missing = error == ENOENT || (error == EISDIR && op.candidates.size() > 1);
  return FailAs(missing ? Failure::kProgramNotFound : Failure::kProgramDenied, "exec", op.name.c_str());
}

bool Child::Do(const plan::CloseDescriptors& op) {
  // From here on a signal means what it means to the program.
  DefaultSignals();
  int agent = -1;
  for (const plan::Operation& operation : p_.plan->operations) {
    const auto* load = std::get_if<plan::LoadSeccomp>(&operation);
    if (load != nullptr && load->agent != plan::kNoSlot) agent = Slot(load->agent);
  }
  int keep[] = {p_.sync, p_.listen, p_.start_hook_state, agent};
  std::sort(std::begin(keep), std::end(keep));
  int from = 3 + op.preserve;
  for (const int fd : keep) {
    if (fd < from) continue;
    if (fd > from && sys::CloseRange(static_cast<unsigned>(from), static_cast<unsigned>(fd - 1), 0) != 0)
      return Fail("close_range");
    from = fd + 1;
  }
  if (sys::CloseRange(static_cast<unsigned>(from), UINT_MAX, 0) != 0) return Fail("close_range");
  return true;
}

// Waits for a connection that orders the start; others (those who only look whether anybody listens) are let go.
bool Child::AwaitConnection() {
  for (;;) {
    const int connection = accept4(p_.listen, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      return Fail("accept", "the order to start");
    }
    Message message;
    if (ReceiveMessage(connection, &message, nullptr) == 0 && message.kind == MessageKind::kStart) {
      control_ = connection;
      return true;
    }
    close(connection);
  }
}

bool Child::Do(const plan::AwaitStart&) {
  Message message;
  message.kind = MessageKind::kReady;
  if (SendMessage(p_.sync, message) != 0) _exit(kKilled);  // nobody is there to be told
  if (p_.listen >= 0) {
    close(p_.sync);
    if (!AwaitConnection()) return false;
    close(p_.listen);
  } else if (ReceiveMessage(p_.sync, &message, nullptr) != 0 || message.kind != MessageKind::kStart) {
    _exit(kKilled);  // the holder is gone
  }
  Announce();
  return true;
}

bool Child::Do(const plan::SetNoNewPrivileges&) {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return Fail("PR_SET_NO_NEW_PRIVS");
  return true;
}

bool Child::SendToAgent(int agent, int notify_fd) {
  size_t size;
  memcpy(&size, p_.agent_message, sizeof size);
  if (SendText(agent, p_.agent_message + sizeof size, size, notify_fd) != 0)
    return Fail("send to the seccomp agent");
  close(agent);
  close(notify_fd);
  return true;
}

// Without an order to start (exec) the parent is told before the filter may forbid it.
void Child::Announce() {
  if (announced_) return;
  announced_ = true;
  Message message;
  message.kind = MessageKind::kAccepted;
  SendMessage(control_, message);
}

bool Child::Do(const plan::LoadSeccomp& op) {
  Announce();
  const struct sock_fprog program = {static_cast<unsigned short>(p_.filter.size()),
                                     const_cast<sock_filter*>(p_.filter.data())};
  const long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, op.flags, &program);
  if (result < 0) return Fail("seccomp");
  if (op.agent == plan::kNoSlot) return true;
  return SendToAgent(Slot(op.agent), static_cast<int>(result));
}

bool Child::Do(const plan::Exec& op) {
  const ExecVectors& vectors = p_.exec;
  if (op.add_home) {
    // The place was left free; the array is our own copy.
    auto& env = const_cast<std::vector<char*>&>(vectors.env);
    env[op.env.size()] = home_;
  }
  Announce();
  execve(program_, vectors.argv.data(), vectors.env.data());
  return Fail("exec", program_);
}

}  // namespace gantry::linux
