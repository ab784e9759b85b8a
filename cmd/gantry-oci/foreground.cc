#include "cmd/gantry-oci/foreground.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::oci_cli {
namespace {

// All but those that are about ourselves: faults, and the terminal's job control.
sigset_t ForwardedSignals() {
  sigset_t set;
  sigfillset(&set);
  for (const int signal :
       {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGTSTP, SIGTTIN, SIGTTOU, SIGURG}) {
    sigdelset(&set, signal);
  }
  return set;
}

// Collects every child that has ended; the status of `pid` if it was among them.
std::optional<int> Reap(pid_t pid) {
  std::optional<int> found;
  int status = 0;
  for (;;) {
    const pid_t ended = waitpid(-1, &status, WNOHANG);
    if (ended == pid) found = sys::ExitStatusFromWait(status).Code();
    if (ended <= 0) return found;
  }
}

void SetWindowSize(int fd, const winsize& size) { ioctl(fd, TIOCSWINSZ, &size); }

constexpr size_t kCopyBytes = 16384;

// What the terminal prints goes to our stdout. False at its end.
bool ShowOutput(int master) {
  char buffer[kCopyBytes];
  const ssize_t n = read(master, buffer, sizeof buffer);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  return n > 0 && sys::WriteAll(STDOUT_FILENO, absl::string_view(buffer, static_cast<size_t>(n))).ok();
}

// Our stdin, on its way to a terminal that may be slow to read: at most one piece waits.
class Input {
 public:
  bool waiting() const { return !pending_.empty(); }
  bool open() const { return open_; }

  void Read() {
    pending_.resize(kCopyBytes);
    const ssize_t n = read(STDIN_FILENO, pending_.data(), pending_.size());
    pending_.resize(n > 0 ? static_cast<size_t>(n) : 0);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) open_ = false;
  }
  void Write(int master) {
    const ssize_t n = write(master, pending_.data(), pending_.size());
    if (n > 0) {
      pending_.erase(0, static_cast<size_t>(n));
    } else if (n < 0 && errno != EINTR && errno != EAGAIN) {
      pending_.clear();
      open_ = false;
    }
  }

 private:
  std::string pending_;
  bool open_ = true;
};

}  // namespace

Foreground::Foreground(bool subreaper) {
  const sigset_t set = ForwardedSignals();
  sigprocmask(SIG_BLOCK, &set, nullptr);
  if (subreaper) prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
}

Foreground::~Foreground() {
  if (raw_) tcsetattr(STDIN_FILENO, TCSANOW, &saved_);
}

void Foreground::ConnectTerminal(sys::UniqueFd master, const std::optional<oci::ConsoleSize>& size) {
  master_ = std::move(master);
  if (isatty(STDIN_FILENO) != 0 && tcgetattr(STDIN_FILENO, &saved_) == 0) {
    termios raw = saved_;
    cfmakeraw(&raw);
    raw_ = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
  }
  if (size.has_value() && (size->height != 0 || size->width != 0)) {
    winsize window = {};
    window.ws_row = static_cast<uint16_t>(size->height);
    window.ws_col = static_cast<uint16_t>(size->width);
    SetWindowSize(master_.get(), window);
  } else {
    CopyWindowSize();
  }
}

void Foreground::CopyWindowSize() {
  winsize window = {};
  if (ioctl(STDIN_FILENO, TIOCGWINSZ, &window) == 0) SetWindowSize(master_.get(), window);
}

absl::StatusOr<int> Foreground::Wait(pid_t pid, const sys::PidFd& process) {
  return master_.valid() ? WaitWithTerminal(pid, process) : WaitWithoutTerminal(pid, process);
}

absl::StatusOr<int> Foreground::WaitWithoutTerminal(pid_t pid, const sys::PidFd& process) {
  const sigset_t set = ForwardedSignals();
  for (;;) {
    int signal = 0;
    if (sigwait(&set, &signal) != 0) return sys::ErrnoStatus("sigwait", "");
    if (signal != SIGCHLD) {
      process.Signal(signal).IgnoreError();  // it may have ended just now
      continue;
    }
    if (const std::optional<int> status = Reap(pid); status.has_value()) return *status;
  }
}

absl::StatusOr<int> Foreground::WaitWithTerminal(pid_t pid, const sys::PidFd& process) {
  const sigset_t set = ForwardedSignals();
  const sys::UniqueFd signals(signalfd(-1, &set, SFD_CLOEXEC));
  if (!signals.valid()) return sys::ErrnoStatus("signalfd", "");
  std::optional<int> status;
  Input input;
  fcntl(master_.get(), F_SETFL, O_RDWR | O_NONBLOCK);
  bool output = true;
  // After the end whatever is still in the terminal is shown; nobody can be left to write more for long.
  while (!status.has_value() || output) {
    const short out = static_cast<short>((output ? POLLIN : 0) | (input.waiting() ? POLLOUT : 0));
    pollfd fds[] = {{signals.get(), POLLIN, 0},
                    {out == 0 ? -1 : master_.get(), out, 0},
                    {input.open() && !input.waiting() ? STDIN_FILENO : -1, POLLIN, 0}};
    const int ready = poll(fds, 3, status.has_value() ? 0 : -1);
    if (ready < 0 && errno != EINTR) return sys::ErrnoStatus("poll", "");
    if (ready == 0) break;
    if ((fds[0].revents & POLLIN) != 0) {
      if (const std::optional<int> ended = TakeSignal(signals.get(), pid, process); ended.has_value())
        status = ended;
    }
    if (output && (fds[1].revents & ~POLLOUT) != 0) output = ShowOutput(master_.get());
    if (input.waiting() && (fds[1].revents & ~POLLIN) != 0) input.Write(master_.get());
    if (fds[2].revents != 0) input.Read();
  }
  return *status;
}

std::optional<int> Foreground::TakeSignal(int signals, pid_t pid, const sys::PidFd& process) {
  signalfd_siginfo info;
  if (read(signals, &info, sizeof info) != sizeof info) return std::nullopt;
  const int signal = static_cast<int>(info.ssi_signo);
  if (signal == SIGCHLD) return Reap(pid);
  if (signal == SIGWINCH) {
    CopyWindowSize();
  } else {
    process.Signal(signal).IgnoreError();
  }
  return std::nullopt;
}

}  // namespace gantry::oci_cli
