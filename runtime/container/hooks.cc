#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csignal>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "runtime/container/container.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/file.h"
#include "runtime/sys/spawn.h"
#include "runtime/sys/status.h"

namespace gantry::container {
namespace {

constexpr size_t kMaxOutput = 4096;  // of a failed hook's own words, for the error

// A file rather than a pipe: a hook may leave its input unread, however large the state is, and nobody waits.
absl::StatusOr<sys::UniqueFd> StateFile(const std::string& json) {
  sys::UniqueFd file(memfd_create("state", MFD_CLOEXEC));
  if (!file) return sys::ErrnoStatus("memfd_create", "state");
  GANTRY_RETURN_IF_ERROR(sys::WriteAll(file.get(), json));
  if (lseek(file.get(), 0, SEEK_SET) < 0) return sys::ErrnoStatus("lseek", "state");
  return file;
}

// Reads what is there without waiting; false at the end of the file. Only the first kMaxOutput bytes are kept.
bool Drain(int pipe, std::string* output) {
  char buffer[4096];
  for (;;) {
    const ssize_t n = read(pipe, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno == EAGAIN;
    if (n == 0) return false;
    output->append(buffer, std::min(static_cast<size_t>(n), kMaxOutput - output->size()));
  }
}

// Until the hook has ended. Its children may live on and hold the pipe: nobody waits for them. False: timed out.
bool Await(const sys::PidFd& pidfd, int output_pipe, const sys::Deadline& deadline, std::string* output) {
  bool open = true;
  while (!pidfd.Exited()) {
    if (deadline.Passed()) return false;
    pollfd fds[2] = {{pidfd.fd(), POLLIN, 0}, {open ? output_pipe : -1, POLLIN, 0}};
    if (poll(fds, 2, deadline.PollTimeout()) > 0 && fds[1].revents != 0) open = Drain(output_pipe, output);
  }
  if (open) Drain(output_pipe, output);
  return true;
}

absl::Status RunHook(const oci::Hook& hook, const std::string& state) {
  if (hook.path.empty() || hook.path[0] != '/') {
    return absl::InvalidArgumentError("the path of a hook must be absolute");
  }
  GANTRY_ASSIGN_OR_RETURN(const sys::UniqueFd input, StateFile(state));
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return sys::ErrnoStatus("pipe2", "");
  const sys::UniqueFd reader(ends[0]);
  sys::UniqueFd writer(ends[1]);
  if (fcntl(reader.get(), F_SETFL, O_NONBLOCK) != 0) return sys::ErrnoStatus("fcntl", "");

  sys::SpawnOptions options;
  options.path = hook.path;
  options.argv = hook.args;
  options.env = hook.env;
  options.fds = {{input.get(), 0}, {writer.get(), 1}, {writer.get(), 2}};
  const sys::Deadline deadline =
      hook.timeout.has_value() ? sys::Deadline::After(absl::Seconds(*hook.timeout)) : sys::Deadline::Never();
  GANTRY_ASSIGN_OR_RETURN(const sys::Spawned hook_process, sys::Spawn(options));
  writer.reset();

  std::string output;
  const bool in_time = Await(hook_process.pidfd, reader.get(), deadline, &output);
  if (!in_time) (void)hook_process.pidfd.Signal(SIGKILL);
  GANTRY_ASSIGN_OR_RETURN(const auto exit, hook_process.pidfd.Reap(sys::PidFd::Block::kWait));
  if (!in_time)
    return absl::DeadlineExceededError(
        absl::StrCat("killed: no end after its timeout of ", *hook.timeout, " s"));
  if (exit->Code() == 0) return absl::OkStatus();
  const absl::string_view said = absl::StripAsciiWhitespace(output);
  return absl::AbortedError(absl::StrCat(exit->signaled ? "killed by signal " : "exit status ", exit->value,
                                         said.empty() ? "" : ": ", said));
}

}  // namespace

absl::Status RunHooks(const std::vector<oci::Hook>& hooks, absl::string_view kind, const oci::State& state) {
  if (hooks.empty()) return absl::OkStatus();
  const std::string json = oci::ToJson(state);
  for (size_t i = 0; i < hooks.size(); i++) {
    if (absl::Status status = RunHook(hooks[i], json); !status.ok()) {
      return sys::Annotate(status, absl::StrCat("hook ", kind, "[", i, "] ", hooks[i].path));
    }
  }
  return absl::OkStatus();
}

}  // namespace gantry::container
