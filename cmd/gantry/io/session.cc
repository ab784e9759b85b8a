#include "cmd/gantry/io/session.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "cmd/gantry/io/terminal.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::cli {
namespace {

constexpr int kRetryMillis = 200;
// After the exit, how long a silent pipe that somebody still holds open is waited for.
constexpr absl::Duration kDrain = absl::Seconds(1);
constexpr char kCtrlP = 0x10;
constexpr char kCtrlQ = 0x11;

// What a shell's job control and the terminal use stays with gantry's own process.
constexpr int kPassed[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGCONT, SIGWINCH};

// Copies what is there to `to`. False at the end of the stream.
bool CopyOutput(int from, int to) {
  char buffer[64 << 10];
  const ssize_t got = ::read(from, buffer, sizeof(buffer));
  if (got < 0) return errno == EAGAIN || errno == EINTR;
  if (got == 0) return false;
  // Whoever reads our output may have gone: the process goes on, as it does under a shell's `| head`.
  sys::WriteAll(to, absl::string_view(buffer, static_cast<size_t>(got))).IgnoreError();
  return true;
}

}  // namespace

SignalSource::SignalSource() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int signal : kPassed) ::sigaddset(&set, signal);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  // A write to a pipe whose reader went away is an error there, not the end of gantry.
  ::signal(SIGPIPE, SIG_IGN);
  fd_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

void Session::Watch() { wait_ = std::make_unique<WaitCall>(options_.client, options_.id, options_.exec_id); }

void Session::Resize() {
  const auto size = SizeOf(STDIN_FILENO);
  if (!size) return;
  tasks::ResizePtyRequest request;
  google::protobuf::Empty response;
  request.set_container_id(options_.id);
  request.set_exec_id(options_.exec_id);
  request.set_width(size->width);
  request.set_height(size->height);
  options_.client->Call(options_.client->tasks(), &tasks::Tasks::Stub::ResizePty, request, &response)
      .IgnoreError();
}

void Session::PassSignals() {
  signalfd_siginfo info{};
  while (::read(options_.signals->fd(), &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
    if (static_cast<int>(info.ssi_signo) == SIGWINCH) {
      if (options_.terminal) Resize();
      continue;
    }
    tasks::KillRequest request;
    google::protobuf::Empty response;
    request.set_container_id(options_.id);
    request.set_exec_id(options_.exec_id);
    request.set_signal(info.ssi_signo);
    // A process that is gone already cannot be signalled, and its end is on its way to us.
    options_.client->Call(options_.client->tasks(), &tasks::Tasks::Stub::Kill, request, &response)
        .IgnoreError();
  }
}

void Session::CloseInput() {
  input_open_ = false;
  options_.fifos->input().reset();
  tasks::CloseIORequest request;
  google::protobuf::Empty response;
  request.set_container_id(options_.id);
  request.set_exec_id(options_.exec_id);
  request.set_stdin(true);
  options_.client->Call(options_.client->tasks(), &tasks::Tasks::Stub::CloseIO, request, &response)
      .IgnoreError();
}

// Reads from the person, or writes on what was read. False when the keys to detach came.
bool Session::CopyInput() {
  if (pending_input_.empty()) {
    char buffer[16 << 10];
    const ssize_t got = ::read(STDIN_FILENO, buffer, sizeof(buffer));
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    if (got <= 0) {
      CloseInput();
      return true;
    }
    for (ssize_t i = 0; i < got; ++i) {
      if (options_.terminal && prefix_seen_ && buffer[i] == kCtrlQ) return false;
      if (prefix_seen_) pending_input_.push_back(kCtrlP);
      prefix_seen_ = options_.terminal && buffer[i] == kCtrlP;
      if (!prefix_seen_) pending_input_.push_back(buffer[i]);
    }
  }
  const ssize_t put = ::write(options_.fifos->input().get(), pending_input_.data(), pending_input_.size());
  if (put > 0) pending_input_.erase(0, static_cast<size_t>(put));
  if (put < 0 && errno != EAGAIN && errno != EINTR) CloseInput();
  return true;
}

absl::Status Session::TakeExit(Outcome* outcome) {
  const absl::StatusOr<uint32_t> code = wait_->Result();
  wait_.reset();
  if (code.ok()) {
    outcome->exit_code = static_cast<int>(*code);
    exited_ = true;
    return absl::OkStatus();
  }
  retry_ = absl::IsUnavailable(code.status()) && retry_for_ > absl::ZeroDuration();
  if (!retry_) return code.status();
  retry_for_ -= absl::Milliseconds(kRetryMillis);
  return absl::OkStatus();
}

absl::StatusOr<Session::Outcome> Session::Run() {
  Outcome outcome;
  input_open_ = options_.fifos->input().valid();
  if (options_.terminal) Resize();
  sys::UniqueFd* outputs[] = {&options_.fifos->output(), &options_.fifos->error()};
  const int targets[] = {STDOUT_FILENO, STDERR_FILENO};
  sys::Deadline drained = sys::Deadline::Never();
  while (true) {
    if (exited_ && !outputs[0]->valid() && !outputs[1]->valid()) return outcome;
    const bool sending = !pending_input_.empty();
    pollfd polls[] = {
        {outputs[0]->get(), POLLIN, 0},
        {outputs[1]->get(), POLLIN, 0},
        {input_open_ && !exited_ && !sending ? STDIN_FILENO : -1, POLLIN, 0},
        {input_open_ && !exited_ && sending ? options_.fifos->input().get() : -1, POLLOUT, 0},
        {options_.signals->fd(), POLLIN, 0},
        {wait_ ? wait_->fd() : -1, POLLIN, 0},
    };
    const int timeout = retry_ ? kRetryMillis : exited_ ? drained.PollTimeout() : -1;
    const int ready = ::poll(polls, std::size(polls), timeout);
    if (ready < 0 && errno != EINTR) return sys::ErrnoStatus("poll", "");
    if (ready == 0 && exited_) return outcome;
    if (ready == 0 && retry_) {
      retry_ = false;
      Watch();
      continue;
    }
    for (int i = 0; i < 2; ++i) {
      // Before the shim opened its end there is neither data nor a hang-up, and read(2) would say "end".
      if ((polls[i].revents & (POLLIN | POLLHUP | POLLERR)) == 0) continue;
      if (!CopyOutput(outputs[i]->get(), targets[i])) outputs[i]->reset();
      if (exited_) drained = sys::Deadline::After(kDrain);
    }
    if ((polls[2].revents | polls[3].revents) != 0 && !CopyInput()) {
      outcome.detached = true;
      return outcome;
    }
    if (polls[4].revents != 0) PassSignals();
    if (polls[5].revents != 0) {
      GANTRY_RETURN_IF_ERROR(TakeExit(&outcome));
      if (exited_) drained = sys::Deadline::After(kDrain);
    }
  }
}

}  // namespace gantry::cli
