// The snapshotter "native": each snapshot is a whole copy of its parent, in a plain directory.
//
// For file systems that overlayfs cannot stand on. Where the file system shares blocks between copies (xfs with
// reflink, btrfs), a copy costs little; elsewhere it costs all that the image has.
//
//   <root>/snapshots/<id>/       the tree; a view has an empty one and shows its parent's
#ifndef GANTRY_SNAPSHOTTER_NATIVE_NATIVE_H_
#define GANTRY_SNAPSHOTTER_NATIVE_NATIVE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "content/kv/kv.h"
#include "snapshotter/records/recorded_snapshotter.h"
#include "snapshotter/snapshotter.h"

namespace gantry::snapshotter {

inline constexpr char kNativeName[] = "native";

struct NativeOptions {
  std::string root;            // made if missing
  kv::Database* db = nullptr;  // outlives the snapshotter
  Executor background;         // deletes removed snapshots
  bool sync_commits = true;
};

absl::StatusOr<std::unique_ptr<Snapshotter>> OpenNativeSnapshotter(NativeOptions options);

// Copies the content of directory `from_fd` into the empty directory `to_fd`, and its attributes onto it: files of
// every kind, owners, modes, times, extended attributes, holes, and which names are one inode.
absl::Status CopyTree(int from_fd, int to_fd);

}  // namespace gantry::snapshotter

#endif  // GANTRY_SNAPSHOTTER_NATIVE_NATIVE_H_
