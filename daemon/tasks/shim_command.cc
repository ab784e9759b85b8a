#include "daemon/tasks/shim_command.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::tasks {
namespace {

constexpr size_t kLimit = 64 << 10;  // also what a pipe holds: the program never blocks on us

struct Pipe {
  sys::UniqueFd reader, writer;
};

absl::StatusOr<Pipe> MakePipe() {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return sys::ErrnoStatus("pipe2", "");
  return Pipe{sys::UniqueFd(fds[0]), sys::UniqueFd(fds[1])};
}

// What is in the pipe now; a process that the program left behind may hold its other end for ever.
std::string Drain(int fd) {
  fcntl(fd, F_SETFL, O_NONBLOCK);
  std::string data(kLimit, '\0');
  size_t size = 0;
  while (size < kLimit) {
    const ssize_t got = read(fd, data.data() + size, kLimit - size);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    size += static_cast<size_t>(got);
  }
  data.resize(size);
  return data;
}

struct Errand {
  sys::EventLoop* loop;
  std::string program;
  sys::PidFd child;
  sys::UniqueFd output, errors;
  sys::EventLoop::TimerId timer = 0;
  bool timed_out = false;
  std::function<void(absl::StatusOr<std::string>)> done;

  absl::StatusOr<std::string> Result() {
    absl::StatusOr<std::optional<sys::ExitStatus>> status = child.Reap(sys::PidFd::Block::kWait);
    if (!status.ok()) return status.status();
    std::string text = Drain(output.get());
    const std::string said(absl::StripAsciiWhitespace(Drain(errors.get())));
    if (timed_out)
      return absl::DeadlineExceededError(absl::StrCat(program, " did not end in time and was killed"));
    if ((*status)->Code() == 0) return text;
    return absl::UnknownError(
        absl::StrCat(program, " failed with status ", (*status)->Code(), ": ",
                     said.empty() ? std::string(absl::StripAsciiWhitespace(text)) : said));
  }
};

absl::StatusOr<std::unique_ptr<Errand>> Begin(sys::EventLoop* loop, sys::SpawnOptions options,
                                              const std::string& input) {
  if (input.size() > kLimit) return absl::InvalidArgumentError("the shim's options are too long");
  GANTRY_ASSIGN_OR_RETURN(Pipe in, MakePipe());
  GANTRY_ASSIGN_OR_RETURN(Pipe out, MakePipe());
  GANTRY_ASSIGN_OR_RETURN(Pipe err, MakePipe());
  GANTRY_RETURN_IF_ERROR(sys::WriteAll(in.writer.get(), input));
  options.fds.emplace_back(in.reader.get(), 0);
  options.fds.emplace_back(out.writer.get(), 1);
  options.fds.emplace_back(err.writer.get(), 2);
  options.session = sys::SpawnOptions::Session::kNewProcessGroup;
  GANTRY_ASSIGN_OR_RETURN(sys::Spawned spawned, sys::Spawn(options));
  auto errand = std::make_unique<Errand>();
  errand->loop = loop;
  errand->program = options.path;
  errand->child = std::move(spawned.pidfd);
  errand->output = std::move(out.reader);
  errand->errors = std::move(err.reader);
  return errand;
}

}  // namespace

std::function<void()> RunShimCommand(sys::EventLoop* loop, sys::SpawnOptions options, std::string input,
                                     absl::Duration timeout,
                                     std::function<void(absl::StatusOr<std::string>)> done) {
  absl::StatusOr<std::unique_ptr<Errand>> begun = Begin(loop, std::move(options), input);
  if (!begun.ok()) {
    loop->Post([done = std::move(done), status = begun.status()] { done(status); });
    return [] {};
  }
  const std::shared_ptr<Errand> errand = *std::move(begun);
  errand->done = std::move(done);
  // The callback holds the errand; taking it out of the loop ends both.
  const absl::Status added = loop->Add(errand->child.fd(), EPOLLIN, [errand](uint32_t) {
    const std::shared_ptr<Errand> self = errand;  // Remove destroys this callback
    self->loop->Cancel(self->timer);
    self->loop->Remove(self->child.fd());
    self->done(self->Result());
  });
  if (!added.ok()) {
    errand->child.Signal(SIGKILL).IgnoreError();
    errand->child.Reap(sys::PidFd::Block::kWait).status().IgnoreError();
    loop->Post([errand, added] { errand->done(added); });
    return [] {};
  }
  std::function<void()> kill = [weak = std::weak_ptr<Errand>(errand)] {
    const std::shared_ptr<Errand> self = weak.lock();
    if (self == nullptr) return;
    self->timed_out = true;
    self->child.Signal(SIGKILL).IgnoreError();
  };
  errand->timer = loop->RunAfter(timeout, kill);
  return kill;
}

}  // namespace gantry::tasks
