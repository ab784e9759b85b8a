// The options of a mount, as mount(8) and the specification ("Linux mount options") spell them, sorted by who
// understands them. Pure.
#ifndef GANTRY_RUNTIME_PLAN_MOUNT_OPTIONS_H_
#define GANTRY_RUNTIME_PLAN_MOUNT_OPTIONS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/plan/plan.h"

namespace gantry::plan {

struct MountOptions {
  MountAttr attr;  // of contradicting options the last one counts
  bool bind = false;
  bool recursive_bind = false;
  bool copy_up = false;
  bool idmap = false;
  bool recursive_idmap = false;
  std::vector<Param> params;  // for the file system itself
};

// INVALID_ARGUMENT names an option that cannot be (an empty one, "remount").
absl::StatusOr<MountOptions> ParseMountOptions(const std::vector<std::string>& options);

// "private", "rslave", ...; false for others. "" is no propagation.
bool ParsePropagation(absl::string_view text, Propagation* propagation);

// The options that ParseMountOptions knows by name, sorted: for the features document.
std::vector<std::string> KnownMountOptions();

}  // namespace gantry::plan

#endif  // GANTRY_RUNTIME_PLAN_MOUNT_OPTIONS_H_
