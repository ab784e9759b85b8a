// The daemon's two directories: made with their modes, locked against a second daemon, and named by a uuid.
#ifndef GANTRY_DAEMON_WIRING_DIRECTORIES_H_
#define GANTRY_DAEMON_WIRING_DIRECTORIES_H_

#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::wiring {

// Holds a directory for this process, until it is destroyed or the process ends however it ends.
class DirectoryLock {
 public:
  // Makes `path` if need be, sets its mode, and locks the file `lock` in it (flock). FAILED_PRECONDITION, with the
  // holder's pid, when another process holds it: nothing of it was touched then. `what` ("root") is for messages.
  static absl::StatusOr<DirectoryLock> Acquire(absl::string_view what, const std::string& path, mode_t mode);

 private:
  explicit DirectoryLock(sys::UniqueFd file) : file_(std::move(file)) {}
  sys::UniqueFd file_;
};

// The uuid (version 4) kept in the file `uuid` of `root`; made at the first call, durable before it returns. A file
// that holds no uuid is DATA_LOSS.
absl::StatusOr<std::string> LoadUuid(const std::string& root);

}  // namespace gantry::wiring

#endif  // GANTRY_DAEMON_WIRING_DIRECTORIES_H_
