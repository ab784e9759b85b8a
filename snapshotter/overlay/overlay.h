// The snapshotter "overlayfs": each snapshot's own files in a directory, stacked by the kernel.
//
//   <root>/snapshots/<id>/fs      0755  what the snapshot has beyond its parent, in overlayfs's form
//   <root>/snapshots/<id>/work    0711  overlayfs's scratch place; active snapshots only
//
// The layout below <root> (by the daemon: <daemon's root>/io.containerd.snapshotter.v1.overlayfs) and the mounts are
// containerd's, because tools look at both.
//
// Mounts of a snapshot: on nothing, or a view of one layer: a bind mount. Else an overlay, whose lowerdir= lists
// the ancestors from the top.
#ifndef GANTRY_SNAPSHOTTER_OVERLAY_OVERLAY_H_
#define GANTRY_SNAPSHOTTER_OVERLAY_OVERLAY_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "content/kv/kv.h"
#include "snapshotter/records/recorded_snapshotter.h"
#include "snapshotter/snapshotter.h"

namespace gantry::snapshotter {

inline constexpr char kOverlayName[] = "overlayfs";

// Where a snapshot's own files lie; told, never stored.
inline constexpr char kLabelUpperdir[] = "containerd.io/snapshot/overlay.upperdir";

struct OverlayOptions {
  std::string root;                        // made if missing
  kv::Database* db = nullptr;              // outlives the snapshotter
  Executor background;                     // deletes removed snapshots
  std::vector<std::string> mount_options;  // appended to each overlay's ("volatile", "index=on", …)
  bool remap_ids = false;       // answer the id-mapping labels with uidmap= and gidmap= mount options
  bool upperdir_label = false;  // tell each snapshot's fs directory by a label, kLabelUpperdir
  bool sync_commits = true;
};

// FAILED_PRECONDITION, saying which and what to do, when the kernel has no overlayfs or cannot put one on the
// file system of `root`; INVALID_ARGUMENT for a root that mount options cannot express.
absl::StatusOr<std::unique_ptr<Snapshotter>> OpenOverlaySnapshotter(OverlayOptions options);

}  // namespace gantry::snapshotter

#endif  // GANTRY_SNAPSHOTTER_OVERLAY_OVERLAY_H_
