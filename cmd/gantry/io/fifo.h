// The named pipes over which a process's standard streams run between a shim and gantry.
//
// They lie in a directory of their own (0700, below $XDG_RUNTIME_DIR or /tmp), removed with the object. Both ends that
// gantry holds are open from the start, so that neither side ever waits for the other. Not thread-safe.
#ifndef GANTRY_CMD_GANTRY_IO_FIFO_H_
#define GANTRY_CMD_GANTRY_IO_FIFO_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::cli {

class FifoSet {
 public:
  // `with_stdin`: the process reads from gantry; else it gets /dev/null. `terminal`: there is no pipe for
  // standard error, a terminal has only one output.
  static absl::StatusOr<std::unique_ptr<FifoSet>> Create(bool with_stdin, bool terminal);
  ~FifoSet();

  FifoSet(const FifoSet&) = delete;
  FifoSet& operator=(const FifoSet&) = delete;

  // Paths, as the daemon is told them; empty where there is no pipe.
  const std::string& stdin_path() const { return paths_[0]; }
  const std::string& stdout_path() const { return paths_[1]; }
  const std::string& stderr_path() const { return paths_[2]; }

  // Our ends, non-blocking: to write to, to read from, to read from.
  sys::UniqueFd& input() { return fds_[0]; }
  sys::UniqueFd& output() { return fds_[1]; }
  sys::UniqueFd& error() { return fds_[2]; }

 private:
  FifoSet() = default;

  std::string directory_;
  std::string paths_[3];
  sys::UniqueFd fds_[3];
};

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_IO_FIFO_H_
