// Whether overlayfs works here, tried rather than guessed.
#ifndef GANTRY_SNAPSHOTTER_OVERLAY_PROBE_H_
#define GANTRY_SNAPSHOTTER_OVERLAY_PROBE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace gantry::snapshotter {

struct OverlayFeatures {
  bool user_xattrs = false;   // trusted.* attributes are not for us: mount with userxattr
  bool index_option = false;  // the kernel knows index=
};

// Makes an overlay's superblock with layers in a scratch directory below `root` (fsopen(2), never attached
// anywhere, so there is nothing to unmount) and removes the scratch. FAILED_PRECONDITION says what is missing.
absl::StatusOr<OverlayFeatures> ProbeOverlay(const std::string& root);

}  // namespace gantry::snapshotter

#endif  // GANTRY_SNAPSHOTTER_OVERLAY_PROBE_H_
