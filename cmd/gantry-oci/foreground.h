// Waiting for a process that runs in the foreground: signals are passed on to it, a terminal is connected to
// ours, and orphans that became our children are reaped. For single-threaded programs.
#ifndef GANTRY_CMD_GANTRY_OCI_FOREGROUND_H_
#define GANTRY_CMD_GANTRY_OCI_FOREGROUND_H_

#include <sys/types.h>
#include <termios.h>

#include <optional>

#include "absl/status/statusor.h"
#include "runtime/oci/spec.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::oci_cli {

class Foreground {
 public:
  // Blocks the signals that Wait will pass on, so that none is lost from here. `subreaper`: orphans of the
  // container become our children instead of the host's init's.
  explicit Foreground(bool subreaper);
  ~Foreground();
  Foreground(const Foreground&) = delete;
  Foreground& operator=(const Foreground&) = delete;

  // Connects `master` to our stdin and stdout: raw mode, our window's size (or `size`, if the configuration has
  // one).
  void ConnectTerminal(sys::UniqueFd master, const std::optional<oci::ConsoleSize>& size);

  // Returns the exit status as shells have it (128 + signal) once `process`, our child with this `pid`, has
  // ended and the terminal's output is written.
  absl::StatusOr<int> Wait(pid_t pid, const sys::PidFd& process);

 private:
  absl::StatusOr<int> WaitWithoutTerminal(pid_t pid, const sys::PidFd& process);
  absl::StatusOr<int> WaitWithTerminal(pid_t pid, const sys::PidFd& process);
  // Handles one signal; the exit status when `pid` has ended.
  std::optional<int> TakeSignal(int signals, pid_t pid, const sys::PidFd& process);
  void CopyWindowSize();

  sys::UniqueFd master_;
  bool raw_ = false;
  termios saved_ = {};
};

}  // namespace gantry::oci_cli

#endif  // GANTRY_CMD_GANTRY_OCI_FOREGROUND_H_
