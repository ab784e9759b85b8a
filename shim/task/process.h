// One process of a container, init or exec'd: its state, its streams, how it ended, and who waits for that.
//
// Belongs to the loop's thread.
#ifndef GANTRY_SHIM_TASK_PROCESS_H_
#define GANTRY_SHIM_TASK_PROCESS_H_

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "runtime/sys/pidfd.h"
#include "shim/stdio/process_io.h"
#include "shim/task/exit_record.h"
#include "shim/task/state.h"

namespace gantry::shim {

// What a failed signal is told as: NOT_FOUND when the process has ended, INVALID_ARGUMENT for an unknown signal.
absl::Status ExplainSignal(int signal, const absl::Status& sent);

class Process {
 public:
  using OnExit = absl::AnyInvocable<void(const ExitRecord&)>;

  Process(std::string id, StdioPaths paths, const ProcessState& state)
      : id_(std::move(id)), paths_(std::move(paths)), state_(&state) {}
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  const std::string& id() const { return id_; }  // of the exec, or of the container
  const StdioPaths& paths() const { return paths_; }
  const ProcessState& state() const { return *state_; }
  void Enter(const ProcessState& state) { state_ = &state; }

  // 0 before there is one; kept after the end.
  pid_t pid() const { return pid_; }
  const sys::PidFd& pidfd() const { return pidfd_; }
  void SetProcess(pid_t pid, sys::PidFd pidfd);

  ProcessIo* io() const { return io_.get(); }
  void SetIo(std::unique_ptr<ProcessIo> io) { io_ = std::move(io); }
  std::unique_ptr<ProcessIo> TakeIo() { return std::move(io_); }

  // NOT_FOUND when it has ended, FAILED_PRECONDITION when there is none yet.
  absl::Status Signal(int signal) const;
  absl::Status Resize(uint32_t width, uint32_t height) const;
  void CloseStdin();

  // Calls back with the exit: at once (from inside) if it has ended.
  void Wait(OnExit callback);
  const ExitRecord& exit() const { return exit_; }
  // Enters Stopped and tells those who wait.
  void End(const ExitRecord& record);

 private:
  const std::string id_;
  const StdioPaths paths_;
  const ProcessState* state_;
  pid_t pid_ = 0;
  sys::PidFd pidfd_;
  std::unique_ptr<ProcessIo> io_;
  ExitRecord exit_;
  std::vector<OnExit> waiters_;
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_TASK_PROCESS_H_
