#include "shim/stdio/process_io.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"
#include "shim/stdio/uri.h"

namespace gantry::shim {
namespace {

constexpr absl::Duration kLoggerPatience = absl::Seconds(10);
// A client's thread that opens and reads a FIFO may be late by that on a busy machine.
constexpr absl::Duration kReaderPatience = absl::Seconds(1);
constexpr absl::Duration kFirstLook = absl::Milliseconds(1), kLongestLook = absl::Milliseconds(50);

bool HasUnread(int fifo) {
  int bytes = 0;
  return ioctl(fifo, FIONREAD, &bytes) == 0 && bytes > 0;
}

absl::StatusOr<sys::UniqueFd> OpenPath(const std::string& path, int flags, mode_t mode = 0) {
  return sys::OpenAt(AT_FDCWD, path, flags | O_NOCTTY, mode);
}

absl::Status SetNonBlocking(int fd, bool on) {
  const int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) != 0) {
    return sys::ErrnoStatus("fcntl", "F_SETFL");
  }
  return absl::OkStatus();
}

absl::Status GiveTo(int fd, const StdioOwner& owner) {
  if (owner.uid == 0 && owner.gid == 0) return absl::OkStatus();
  if (fchown(fd, owner.uid, owner.gid) != 0) return sys::ErrnoStatus("fchown", "standard stream");
  return absl::OkStatus();
}

// The names of the two pipes to log files.
constexpr char kStdout[] = "stdout";
constexpr char kStderr[] = "stderr";

std::string FifoOf(const StdioOwner& owner, absl::string_view stream) {
  return owner.directory.empty() ? "" : absl::StrCat(owner.directory, "/", stream, ".fifo");
}

// Made with its directories.
absl::StatusOr<sys::UniqueFd> OpenLogFile(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash != std::string::npos && slash > 0) {
    GANTRY_RETURN_IF_ERROR(sys::MkdirAll(path.substr(0, slash), 0755));
  }
  return OpenPath(path, O_WRONLY | O_APPEND | O_CREAT, 0644);
}

absl::StatusOr<mode_t> TypeOf(const std::string& path) {
  struct stat info;
  if (stat(path.c_str(), &info) != 0) return sys::ErrnoStatus("stat", path);
  return info.st_mode & S_IFMT;
}

}  // namespace

absl::StatusOr<std::unique_ptr<ProcessIo>> ProcessIo::Open(sys::EventLoop* loop, const StdioPaths& paths,
                                                           const StdioOwner& owner) {
  std::unique_ptr<ProcessIo> io(new ProcessIo(loop));
  io->terminal_ = paths.terminal;
  if (!paths.in.empty()) GANTRY_RETURN_IF_ERROR(io->OpenStdin(paths.in, owner));
  if (paths.terminal) {
    GANTRY_RETURN_IF_ERROR(io->OpenTerminalOutput(paths.out, owner));
    return io;
  }
  GANTRY_ASSIGN_OR_RETURN(const StreamTarget out, ParseStreamTarget(paths.out));
  GANTRY_ASSIGN_OR_RETURN(const StreamTarget err, ParseStreamTarget(paths.err));
  if (out.kind == StreamKind::kBinary) {
    // One program reads both, whatever stderr's URI says.
    GANTRY_ASSIGN_OR_RETURN(Logger logger, StartLogger(out, owner.id, owner.namespace_name));
    io->strict_ready_ = out.strict_ready;
    io->child_out_ = std::move(logger.out);
    io->child_err_ = std::move(logger.err);
    io->logger_ = std::move(logger);
    return io;
  }
  GANTRY_RETURN_IF_ERROR(
      io->OpenOutput(paths.out, FifoOf(owner, kStdout), owner, &io->child_out_, &io->held_out_));
  if (out.kind == StreamKind::kFile) {
    // Both streams through one pipe: lines keep their order.
    io->child_err_.reset(fcntl(io->child_out_.get(), F_DUPFD_CLOEXEC, 0));
    return io;
  }
  GANTRY_RETURN_IF_ERROR(
      io->OpenOutput(paths.err, FifoOf(owner, kStderr), owner, &io->child_err_, &io->held_err_));
  return io;
}

ProcessIo::~ProcessIo() {
  if (ready_timer_ != 0) loop_->Cancel(ready_timer_);
  if (unread_timer_ != 0) loop_->Cancel(unread_timer_);
  if (logger_ && logger_->ready.valid()) loop_->Remove(logger_->ready.get());
}

absl::Status ProcessIo::OpenOutput(const std::string& text, const std::string& fifo, const StdioOwner& owner,
                                   sys::UniqueFd* child, sys::UniqueFd* held) {
  GANTRY_ASSIGN_OR_RETURN(const StreamTarget target, ParseStreamTarget(text));
  if (target.kind == StreamKind::kStream) return OpenStreamOutput(target.stream_id, owner, child);
  if (target.kind == StreamKind::kNull) return absl::OkStatus();
  if (target.kind == StreamKind::kBinary) {
    return absl::InvalidArgumentError(absl::StrCat("stderr ", text, ": a logger is named by stdout"));
  }
  if (target.kind == StreamKind::kFile) return OpenFileOutput(target.path, fifo, owner, child);
  GANTRY_ASSIGN_OR_RETURN(const mode_t type, TypeOf(target.path));
  if (type == S_IFREG) return OpenFileOutput(target.path, fifo, owner, child);
  if (type == S_IFIFO) {
    // Both ways, as fifo(7) allows on Linux: never blocks, and later opens find their other end.
    GANTRY_ASSIGN_OR_RETURN(*held, OpenPath(target.path, O_RDWR | O_NONBLOCK));
  }
  GANTRY_ASSIGN_OR_RETURN(*child, OpenPath(target.path, O_WRONLY));
  return GiveTo(child->get(), owner);
}

absl::Status ProcessIo::OpenStreamOutput(const std::string& id, const StdioOwner& owner,
                                         sys::UniqueFd* writer) {
  if (owner.streams == nullptr) return absl::InvalidArgumentError("there are no streams here");
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return sys::ErrnoStatus("pipe2", "stream");
  sys::UniqueFd source(fds[0]);
  writer->reset(fds[1]);
  GANTRY_RETURN_IF_ERROR(SetNonBlocking(source.get(), true));
  GANTRY_RETURN_IF_ERROR(GiveTo(writer->get(), owner));
  GANTRY_ASSIGN_OR_RETURN(
      std::unique_ptr<StreamOutput> output,
      StreamOutput::Create(owner.streams, id, std::move(source), [this] { StreamEnded(); }));
  stream_outputs_.push_back(std::move(output));
  return absl::OkStatus();
}

absl::Status ProcessIo::OpenStreamInput(const std::string& id, const StdioOwner& owner,
                                        sys::UniqueFd* reader) {
  if (owner.streams == nullptr) return absl::InvalidArgumentError("there are no streams here");
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return sys::ErrnoStatus("pipe2", "stream");
  reader->reset(fds[0]);
  sys::UniqueFd sink(fds[1]);
  GANTRY_RETURN_IF_ERROR(SetNonBlocking(sink.get(), true));
  GANTRY_RETURN_IF_ERROR(GiveTo(reader->get(), owner));
  GANTRY_ASSIGN_OR_RETURN(stream_input_, StreamInput::Create(owner.streams, id, std::move(sink)));
  return absl::OkStatus();
}

absl::Status ProcessIo::OpenFileOutput(const std::string& path, const std::string& fifo,
                                       const StdioOwner& owner, sys::UniqueFd* child) {
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd file, OpenLogFile(path));
  sys::UniqueFd source;
  if (fifo.empty()) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) return sys::ErrnoStatus("pipe2", path);
    source.reset(fds[0]);
    child->reset(fds[1]);
    GANTRY_RETURN_IF_ERROR(SetNonBlocking(source.get(), true));
  } else {
    if (unlink(fifo.c_str()) != 0 && errno != ENOENT) return sys::ErrnoStatus("unlink", fifo);
    if (mkfifo(fifo.c_str(), 0600) != 0) return sys::ErrnoStatus("mkfifo", fifo);
    GANTRY_ASSIGN_OR_RETURN(source, OpenPath(fifo, O_RDONLY | O_NONBLOCK));
    // For reading too: should the shim be killed, the process waits for the next one and gets no SIGPIPE.
    GANTRY_ASSIGN_OR_RETURN(*child, OpenPath(fifo, O_RDWR));
  }
  GANTRY_RETURN_IF_ERROR(GiveTo(child->get(), owner));
  return AddPump(Pump::Source::kStream, std::move(source), std::move(file));
}

absl::Status ProcessIo::ReopenFileOutput(const std::string& path, const std::string& fifo) {
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd source, OpenPath(fifo, O_RDONLY | O_NONBLOCK));
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd file, OpenLogFile(path));
  return AddPump(Pump::Source::kStream, std::move(source), std::move(file));
}

absl::StatusOr<std::unique_ptr<ProcessIo>> ProcessIo::Reopen(sys::EventLoop* loop, const StdioPaths& paths,
                                                             const StdioOwner& owner) {
  std::unique_ptr<ProcessIo> io(new ProcessIo(loop));
  GANTRY_ASSIGN_OR_RETURN(const StreamTarget out, ParseStreamTarget(paths.out));
  GANTRY_ASSIGN_OR_RETURN(const StreamTarget err, ParseStreamTarget(paths.err));
  if (out.kind != StreamKind::kNull) {
    GANTRY_RETURN_IF_ERROR(io->ReopenFileOutput(out.path, FifoOf(owner, kStdout)));
  }
  // A file:// of stdout takes both.
  if (out.kind != StreamKind::kFile && err.kind != StreamKind::kNull) {
    GANTRY_RETURN_IF_ERROR(io->ReopenFileOutput(err.path, FifoOf(owner, kStderr)));
  }
  return io;
}

bool CanBeReopened(const StdioPaths& paths) {
  if (paths.terminal || !paths.in.empty()) return false;
  for (const std::string* text : {&paths.out, &paths.err}) {
    // The bundle's record has a line for each.
    if (text->find('\n') != std::string::npos) return false;
    const absl::StatusOr<StreamTarget> target = ParseStreamTarget(*text);
    if (!target.ok() || target->kind == StreamKind::kBinary || target->kind == StreamKind::kStream)
      return false;
    if (target->kind == StreamKind::kPath) {
      const absl::StatusOr<mode_t> type = TypeOf(target->path);
      if (!type.ok() || *type != S_IFREG) return false;
    }
  }
  return true;
}

absl::Status ProcessIo::OpenStdin(const std::string& text, const StdioOwner& owner) {
  GANTRY_ASSIGN_OR_RETURN(const StreamTarget target, ParseStreamTarget(text));
  if (target.kind == StreamKind::kStream) {
    GANTRY_RETURN_IF_ERROR(OpenStreamInput(target.stream_id, owner, terminal_ ? &terminal_in_ : &child_in_));
    return terminal_ ? SetNonBlocking(terminal_in_.get(), true) : absl::OkStatus();
  }
  if (target.kind != StreamKind::kPath) {
    return absl::InvalidArgumentError(
        absl::StrCat("stdin ", text, ": only a FIFO or a stream can be read from"));
  }
  GANTRY_ASSIGN_OR_RETURN(const mode_t type, TypeOf(target.path));
  sys::UniqueFd* end = terminal_ ? &terminal_in_ : &child_in_;
  // O_NONBLOCK: a FIFO's open for reading would wait for a writer.
  GANTRY_ASSIGN_OR_RETURN(*end, OpenPath(target.path, O_RDONLY | O_NONBLOCK));
  if (type == S_IFIFO) {
    GANTRY_ASSIGN_OR_RETURN(held_in_, OpenPath(target.path, O_WRONLY | O_NONBLOCK));
  }
  if (terminal_) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(SetNonBlocking(end->get(), false));
  return GiveTo(end->get(), owner);
}

absl::Status ProcessIo::OpenTerminalOutput(const std::string& text, const StdioOwner& owner) {
  GANTRY_ASSIGN_OR_RETURN(const StreamTarget target, ParseStreamTarget(text));
  switch (target.kind) {
    case StreamKind::kNull: {
      GANTRY_ASSIGN_OR_RETURN(terminal_out_, OpenPath("/dev/null", O_WRONLY));
      return absl::OkStatus();
    }
    case StreamKind::kBinary: {
      GANTRY_ASSIGN_OR_RETURN(Logger logger, StartLogger(target, owner.id, owner.namespace_name));
      strict_ready_ = target.strict_ready;
      terminal_out_ = std::move(logger.out);
      logger.err.reset();
      logger_ = std::move(logger);
      return SetNonBlocking(terminal_out_.get(), true);
    }
    case StreamKind::kFile: {
      GANTRY_ASSIGN_OR_RETURN(terminal_out_, OpenLogFile(target.path));
      return absl::OkStatus();
    }
    case StreamKind::kStream:
      GANTRY_RETURN_IF_ERROR(OpenStreamOutput(target.stream_id, owner, &terminal_out_));
      return SetNonBlocking(terminal_out_.get(), true);
    case StreamKind::kPath:
      break;
  }
  GANTRY_ASSIGN_OR_RETURN(const mode_t type, TypeOf(target.path));
  const int flags = type == S_IFIFO ? O_RDWR : O_WRONLY | O_APPEND;
  GANTRY_ASSIGN_OR_RETURN(terminal_out_, OpenPath(target.path, flags | O_NONBLOCK));
  if (type == S_IFIFO) {
    GANTRY_ASSIGN_OR_RETURN(held_out_, OpenPath(target.path, O_RDWR | O_NONBLOCK));
  }
  return absl::OkStatus();
}

absl::Status ProcessIo::AddPump(Pump::Source kind, sys::UniqueFd source, sys::UniqueFd sink) {
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<Pump> pump, Pump::Create(loop_, kind, std::move(source),
                                                                   std::move(sink), [this] { PumpEnded(); }));
  pumps_.push_back(std::move(pump));
  return absl::OkStatus();
}

void ProcessIo::PumpEnded() {
  for (const std::unique_ptr<Pump>& pump : pumps_) {
    if (pump->ended() && pump->lost_bytes() > 0) {
      log::Warn("output was lost: its reader or disk failed", {{"bytes", absl::StrCat(pump->lost_bytes())}});
    }
  }
  std::erase_if(pumps_, [](const std::unique_ptr<Pump>& pump) { return pump->ended(); });
  if (!Copies() && ended_) LetGo(kFirstLook);  // may destroy this
}

void ProcessIo::StreamEnded() {
  std::erase_if(stream_outputs_, [](const std::unique_ptr<StreamOutput>& output) { return output->ended(); });
  if (!Copies() && ended_) LetGo(kFirstLook);  // may destroy this
}

void ProcessIo::LetGo(absl::Duration pause) {
  unread_timer_ = 0;
  for (sys::UniqueFd* held : {&held_out_, &held_err_}) {
    if (held->valid() && (!HasUnread(held->get()) || unread_until_.Passed())) held->reset();
  }
  if (Holds()) {
    unread_timer_ = loop_->RunAfter(pause, [this, pause] { LetGo(std::min(2 * pause, kLongestLook)); });
  } else if (on_idle_) {
    auto callback = std::exchange(on_idle_, nullptr);
    callback();  // may destroy this
  }
}

void ProcessIo::WhenReady(absl::AnyInvocable<void(absl::Status)> callback) {
  if (!logger_) return callback(absl::OkStatus());
  on_ready_ = std::move(callback);
  absl::Status added = loop_->Add(logger_->ready.get(), EPOLLIN, [this](uint32_t) { OnLoggerReady(); });
  if (!added.ok()) return FinishReady(added);
  ready_timer_ = loop_->RunAfter(kLoggerPatience, [this] {
    ready_timer_ = 0;
    FinishReady(absl::DeadlineExceededError("the logging binary did not become ready within 10 s"));
  });
}

void ProcessIo::OnLoggerReady() {
  char byte;
  const ssize_t n = read(logger_->ready.get(), &byte, 1);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0 && strict_ready_) {
    return FinishReady(
        absl::UnavailableError("the logging binary did not say that it is ready; it may have ended, and "
                               "binary-v2:// needs a byte on "
                               "descriptor 5"));
  }
  FinishReady(absl::OkStatus());
}

void ProcessIo::FinishReady(absl::Status status) {
  if (ready_timer_ != 0) loop_->Cancel(std::exchange(ready_timer_, 0));
  loop_->Remove(logger_->ready.get());
  logger_->ready.reset();
  auto callback = std::exchange(on_ready_, nullptr);
  if (callback) callback(std::move(status));  // may destroy this
}

container::Stdio ProcessIo::child() const {
  container::Stdio stdio;
  stdio.in = child_in_.get();
  stdio.out = child_out_.get();
  stdio.err = child_err_.get();
  return stdio;
}

std::vector<int> ProcessIo::child_fds() const {
  std::vector<int> fds;
  for (const sys::UniqueFd* fd : {&child_in_, &child_out_, &child_err_}) {
    if (fd->valid()) fds.push_back(fd->get());
  }
  return fds;
}

void ProcessIo::ChildStarted() {
  child_in_.reset();
  child_out_.reset();
  child_err_.reset();
}

absl::Status ProcessIo::AttachTerminal(sys::UniqueFd master) {
  GANTRY_RETURN_IF_ERROR(SetNonBlocking(master.get(), true));
  // A descriptor per pump: each is in the loop on its own.
  sys::UniqueFd input(fcntl(master.get(), F_DUPFD_CLOEXEC, 0));
  sys::UniqueFd output(fcntl(master.get(), F_DUPFD_CLOEXEC, 0));
  if (!input || !output) return sys::ErrnoStatus("fcntl", "F_DUPFD_CLOEXEC");
  master_ = std::move(master);
  if (terminal_in_.valid()) {
    GANTRY_ASSIGN_OR_RETURN(stdin_pump_, Pump::Create(loop_, Pump::Source::kStream, std::move(terminal_in_),
                                                      std::move(input), [] {}));
  }
  return AddPump(Pump::Source::kTerminal, std::move(output), std::move(terminal_out_));
}

absl::Status ProcessIo::Resize(uint32_t width, uint32_t height) {
  if (!master_.valid()) return absl::OkStatus();
  winsize size = {};
  size.ws_col = static_cast<unsigned short>(width);
  size.ws_row = static_cast<unsigned short>(height);
  if (ioctl(master_.get(), TIOCSWINSZ, &size) != 0) return sys::ErrnoStatus("ioctl", "TIOCSWINSZ");
  return absl::OkStatus();
}

void ProcessIo::CloseStdin() {
  held_in_.reset();
  if (stream_input_ != nullptr) stream_input_->CloseWithClient();
}

void ProcessIo::ProcessEnded(absl::AnyInvocable<void()> on_idle) {
  ChildStarted();
  stdin_pump_.reset();
  stream_input_.reset();
  held_in_.reset();
  master_.reset();
  for (const std::unique_ptr<Pump>& pump : pumps_) terminal_ ? pump->Finish() : pump->Drain();
  for (const std::unique_ptr<StreamOutput>& output : stream_outputs_) output->Finish(kReaderPatience);
  ended_ = true;
  unread_until_ = sys::Deadline::After(kReaderPatience);
  if (!Copies()) LetGo(kFirstLook);
  if (Lingers()) on_idle_ = std::move(on_idle);
}

bool ProcessIo::Lingers() const { return Copies() || Holds(); }

}  // namespace gantry::shim
