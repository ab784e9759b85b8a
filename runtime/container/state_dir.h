// Where gantry-oci remembers its containers: one directory each below --root.
//
//   <root>/                0711
//     <id>/                0700, made exclusively: the id is taken from that instant
//       state.json         what create found out; written once, last (so: absent while creating)
//       config.json        the configuration as create read it; the bundle's may change or go
//       start              the socket on which init waits (container.h); no listener: it was started
//
// Volatile (a tmpfs): nothing is synced, files are replaced atomically. Not thread-safe; several processes
// may work on one root.
#ifndef GANTRY_RUNTIME_CONTAINER_STATE_DIR_H_
#define GANTRY_RUNTIME_CONTAINER_STATE_DIR_H_

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/cgroup/plan.h"
#include "runtime/oci/state.h"

namespace gantry::container {

struct SavedState {
  std::string oci_version;
  std::string id;
  pid_t pid = 0;
  uint64_t start_time = 0;  // see sys::ProcessStartTime: guards against a reused pid
  std::string bundle;
  std::string rootfs;
  std::string created;  // RFC 3339, UTC
  std::vector<cgroup::Directory> cgroup;
  uint64_t root_mount =
      0;  // its id, when it is mounted in a mount namespace of others (see ReleaseJoinedRoot)
  std::map<std::string, std::string> annotations;
};

std::string ToJson(const SavedState& state);
absl::StatusOr<SavedState> ParseSavedState(absl::string_view json);

// Whether `id` may name a container: 1 to 1024 of letters, digits and _ + - . but not "." or "..".
// INVALID_ARGUMENT says the rule.
absl::Status CheckId(absl::string_view id);

class StateDir {
 public:
  // Takes the id. ALREADY_EXISTS when it is in use. Makes `root` if need be.
  static absl::StatusOr<StateDir> Make(const std::string& root, const std::string& id);
  // NOT_FOUND when there is no such container.
  static absl::StatusOr<StateDir> Open(const std::string& root, const std::string& id);
  // The ids below `root`, sorted; empty when there is no such directory.
  static absl::StatusOr<std::vector<std::string>> List(const std::string& root);

  const std::string& path() const { return path_; }

  absl::Status Save(const SavedState& state) const;
  absl::Status SaveConfig(absl::string_view json) const;
  // NOT_FOUND while the container is still being created, or was left by a creator that was killed.
  absl::StatusOr<SavedState> Load() const;
  absl::StatusOr<std::string> LoadConfig() const;

  // Removes the directory with all it holds. Idempotent.
  absl::Status Remove() const;

 private:
  explicit StateDir(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// What the container is now: stopped when its init has ended (or the pid is another process's), created
// while init waits for start, else running. Paused is the cgroup's to tell: see runtime/cgroup.
oci::Status CurrentStatus(const StateDir& dir, const SavedState& state);

}  // namespace gantry::container

#endif  // GANTRY_RUNTIME_CONTAINER_STATE_DIR_H_
