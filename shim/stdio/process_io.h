// The standard streams of one process, from the strings of a request to the process's end.
//
//   Open (or Reopen: the process has them already) ─► child() for the builder ─► ChildStarted / AttachTerminal ─► … ─► ProcessEnded ─► (Lingers) ─► gone
//
// A FIFO is handed to the process itself: no copy, no wakeup. The shim holds it open both ways until the process
// ends, so that a reader may come and go. A log file is behind a pipe and a Pump: a process must not get a
// descriptor with which it could truncate its own log. A terminal has a Pump each way.
// A stream has a pipe, whose other end is the hub's.
//
// An exit is not end of file: ProcessEnded gives up what the shim holds and copies what is there, and whoever
// else has the streams open goes on. While Lingers() the object has something left to copy.
//
// Belongs to the loop's thread.
#ifndef GANTRY_SHIM_STDIO_PROCESS_IO_H_
#define GANTRY_SHIM_STDIO_PROCESS_IO_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/container/container.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/event_loop.h"
#include "runtime/sys/unique_fd.h"
#include "shim/stdio/logger.h"
#include "shim/stdio/pump.h"
#include "shim/stdio/stream_hub.h"

namespace gantry::shim {

struct StdioPaths {
  std::string in, out, err;  // see uri.h; `in` is a FIFO or empty
  bool terminal = false;
};

struct StdioOwner {
  std::string id;  // of the container
  std::string namespace_name;
  uint32_t uid = 0, gid = 0;  // of pipes: io_uid and io_gid of the runtime's options
  // Where the pipes to log files have a name (`stdout.fifo`, `stderr.fifo`), so that another shim finds them; empty:
  // they have none.
  std::string directory = "";
  StreamHub* streams = nullptr;  // null: there are none
};

// Whether the streams could go on under another shim: there is no terminal and no stdin, and the outputs go to files,
// or nowhere.
bool CanBeReopened(const StdioPaths& paths);

class ProcessIo {
 public:
  // Opens everything, and starts the logger if there is one.
  static absl::StatusOr<std::unique_ptr<ProcessIo>> Open(sys::EventLoop* loop, const StdioPaths& paths,
                                                         const StdioOwner& owner);
  // The streams of a process that another shim, which was killed, has given them to. Only for paths of which
  // CanBeReopened; nothing of child() is there.
  static absl::StatusOr<std::unique_ptr<ProcessIo>> Reopen(sys::EventLoop* loop, const StdioPaths& paths,
                                                           const StdioOwner& owner);
  ~ProcessIo();
  ProcessIo(const ProcessIo&) = delete;
  ProcessIo& operator=(const ProcessIo&) = delete;

  // Calls back once, when a process may be started: at once (from inside), or when the logger is ready. A logger
  // that ends instead, or says nothing for ten seconds, is an error.
  void WhenReady(absl::AnyInvocable<void(absl::Status)> callback);

  // What the process gets as 0, 1, 2 (-1: the shim's own, which are /dev/null), and these as a list.
  container::Stdio child() const;
  std::vector<int> child_fds() const;
  // The builder has its copies: the shim's go.
  void ChildStarted();
  // `master` of the process's terminal.
  absl::Status AttachTerminal(sys::UniqueFd master);

  absl::Status Resize(uint32_t width, uint32_t height);
  // The client's end of stdin was the last one. Nothing happens without stdin.
  void CloseStdin();
  // Copies what the process wrote, and lets go of what the shim holds: of a FIFO that nobody has read empty not for
  // another second, as a reader who has yet to open it would find nothing in it. `on_idle` is called, at the loop's next
  // turn or later, when Lingers() turns false; not if it is false already.
  void ProcessEnded(absl::AnyInvocable<void()> on_idle);
  bool Lingers() const;

  // The logger, to be watched by whoever reaps; 0 without.
  pid_t logger_pid() const { return logger_ ? logger_->pid : 0; }
  // Gives the logger's pidfd away.
  sys::PidFd TakeLogger() { return std::move(logger_->pidfd); }

 private:
  explicit ProcessIo(sys::EventLoop* loop) : loop_(loop) {}
  absl::Status OpenOutput(const std::string& path, const std::string& fifo, const StdioOwner& owner,
                          sys::UniqueFd* child, sys::UniqueFd* held);
  absl::Status OpenFileOutput(const std::string& path, const std::string& fifo, const StdioOwner& owner,
                              sys::UniqueFd* child);
  absl::Status ReopenFileOutput(const std::string& path, const std::string& fifo);
  absl::Status OpenStdin(const std::string& path, const StdioOwner& owner);
  absl::Status OpenTerminalOutput(const std::string& path, const StdioOwner& owner);
  // A pipe whose other end is the client's, by a stream.
  absl::Status OpenStreamOutput(const std::string& id, const StdioOwner& owner, sys::UniqueFd* writer);
  absl::Status OpenStreamInput(const std::string& id, const StdioOwner& owner, sys::UniqueFd* reader);
  absl::Status AddPump(Pump::Source kind, sys::UniqueFd source, sys::UniqueFd sink);
  void PumpEnded();
  void StreamEnded();
  bool Copies() const { return !pumps_.empty() || !stream_outputs_.empty(); }
  void LetGo(absl::Duration pause);
  bool Holds() const { return held_out_.valid() || held_err_.valid(); }
  void OnLoggerReady();
  void FinishReady(absl::Status status);

  sys::EventLoop* const loop_;
  bool terminal_ = false;
  sys::UniqueFd child_in_, child_out_, child_err_;
  // FIFOs, kept open for readers and writers that come and go.
  sys::UniqueFd held_in_, held_out_, held_err_;
  sys::UniqueFd terminal_in_, terminal_out_;  // until AttachTerminal
  sys::UniqueFd master_;
  std::vector<std::unique_ptr<Pump>> pumps_;  // outputs
  std::unique_ptr<Pump> stdin_pump_;
  std::vector<std::unique_ptr<StreamOutput>> stream_outputs_;
  std::unique_ptr<StreamInput> stream_input_;
  std::optional<Logger> logger_;
  bool strict_ready_ = false;
  bool ended_ = false;
  sys::EventLoop::TimerId ready_timer_ = 0;
  sys::EventLoop::TimerId unread_timer_ = 0;
  sys::Deadline unread_until_;
  absl::AnyInvocable<void(absl::Status)> on_ready_;
  absl::AnyInvocable<void()> on_idle_;
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_STDIO_PROCESS_IO_H_
