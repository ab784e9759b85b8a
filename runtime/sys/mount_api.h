// Mounts by descriptor: made detached, configured, and only then attached. The owner of a mount that nobody
// sees yet; closing it unmounts it, unless it was attached.
//
// See fsopen(2), fsconfig(2), fsmount(2), open_tree(2), mount_setattr(2), move_mount(2). Errors carry what the
// file system logged ("overlay: ..."), where it did. Not thread-safe: one thread owns it.
#ifndef GANTRY_RUNTIME_SYS_MOUNT_API_H_
#define GANTRY_RUNTIME_SYS_MOUNT_API_H_

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::sys {

class DetachedMount {
 public:
  DetachedMount() = default;
  explicit DetachedMount(UniqueFd fd) : fd_(std::move(fd)) {}

  // A parameter without a value (null) is a flag.
  struct Parameter {
    const char* key;
    const char* value;
  };
  // A new file system with `attributes` (MOUNT_ATTR_*).
  static absl::StatusOr<DetachedMount> NewFilesystem(const std::string& type, const std::string& source,
                                                     absl::Span<const Parameter> parameters,
                                                     uint64_t attributes);
  // A copy of the mount at `path` (relative to `dirfd`; last symlink followed), with all mounts below it if
  // `recursive`.
  static absl::StatusOr<DetachedMount> Copy(int dirfd, const std::string& path, bool recursive);

  int fd() const { return fd_.get(); }
  bool valid() const { return fd_.valid(); }
  UniqueFd release() { return std::move(fd_); }

  // mount_setattr(2). `propagation`: MS_PRIVATE and the like, or 0. `user_namespace`: id-maps by it, or -1.
  struct Attributes {
    uint64_t set = 0;
    uint64_t clear = 0;
    uint64_t propagation = 0;
    int user_namespace = -1;
    bool recursive = false;
  };
  absl::Status SetAttributes(const Attributes& attributes) const;

  // Attaches it to the directory or file `target_fd` (O_PATH).
  absl::Status AttachTo(int target_fd) const;

 private:
  UniqueFd fd_;
};

// Whether the kernel has mount_setattr(2), which Linux 5.12 brought.
bool HasMountSetattr();

// What the file system behind the fsopen(2) descriptor `fs_fd` logged last, without its prefix; the number of
// bytes put into `buffer` (no terminator). Async-signal-safe, for use after clone3.
size_t ReadMountLog(int fs_fd, char* buffer, size_t size);

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_MOUNT_API_H_
