// A bind mount in our own mount namespace, for as long as the object lives. criu wants the root that it restores
// into as a mount of its own there.
#ifndef GANTRY_RUNTIME_LINUX_HOST_BIND_H_
#define GANTRY_RUNTIME_LINUX_HOST_BIND_H_

#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace gantry::linux {

class HostBind {
 public:
  // `source` with all mounts below it onto the directory `target`, private.
  static absl::StatusOr<HostBind> Make(const std::string& source, const std::string& target);
  HostBind(HostBind&& other) noexcept : target_(std::exchange(other.target_, "")) {}
  HostBind& operator=(HostBind&&) = delete;
  ~HostBind();  // takes it away, busy or not

 private:
  explicit HostBind(std::string target) : target_(std::move(target)) {}
  std::string target_;
};

// Makes the mount points `destinations` (absolute, as the container sees them; directories, or files for those
// whose source is one) in the root `rootfs`, where they are missing. Symlinks lead nowhere outside.
struct MountPoint {
  std::string destination;
  bool is_directory = true;
};
absl::Status MakeMountPoint(const std::string& rootfs, const MountPoint& point);

}  // namespace gantry::linux

#endif  // GANTRY_RUNTIME_LINUX_HOST_BIND_H_
