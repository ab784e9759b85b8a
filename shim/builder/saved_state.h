// What the bundle tells about its container when the shim cannot: the file `gantry-state`, for `delete`.
//
//   pid <pid> <start time>
//   adopt <private pid namespace: 0|1> <has poststop hooks: 0|1> <io uid> <io gid>
//   out <URI of stdout>
//   err <URI of stderr>
//   <one line per cgroup directory, as cgroup::FormatDirectories>
//
// With an `adopt` line the container can go on under another shim if this one is killed: its streams need nobody's
// descriptors (shim/README.md, "When a shim is killed"). `out` and `err` are there if they go somewhere.
//
// It is written by the builder before the shim hears of the container, so there is no container without it.
#ifndef GANTRY_SHIM_BUILDER_SAVED_STATE_H_
#define GANTRY_SHIM_BUILDER_SAVED_STATE_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/cgroup/plan.h"

namespace gantry::shim {

// What a successor of the shim has to know.
struct AdoptState {
  bool private_pid_namespace = true;
  bool has_poststop = false;
  uint32_t io_uid = 0, io_gid = 0;
  std::string out, err;  // as the client gave them
};

struct SavedState {
  pid_t pid = 0;
  uint64_t start_time = 0;  // sys::ProcessStartTime: tells whether `pid` still is that process
  std::vector<cgroup::Directory> cgroup;
  std::optional<AdoptState> adopt = std::nullopt;
};

std::string FormatSavedState(const SavedState& state);
absl::StatusOr<SavedState> ParseSavedState(absl::string_view text);

// Writes it, and `init.pid` beside it as containerd's shim does.
absl::Status WriteSavedState(const std::string& bundle, const SavedState& state);
// NOT_FOUND when the bundle has none.
absl::StatusOr<SavedState> ReadSavedState(const std::string& bundle);
// The container was never told of, and is gone.
void RemoveSavedState(const std::string& bundle);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_BUILDER_SAVED_STATE_H_
