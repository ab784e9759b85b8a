// Making a layer of what changed between two snapshots: the Diff of containerd's diff service.
#ifndef GANTRY_SNAPSHOTTER_DIFF_COMPUTE_H_
#define GANTRY_SNAPSHOTTER_DIFF_COMPUTE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "content/digest.h"
#include "snapshotter/diff/decompress.h"
#include "snapshotter/diff/tar_writer.h"
#include "snapshotter/snapshotter.h"

namespace gantry::diff {

struct ComputeOptions {
  Compression compression = Compression::kGzip;  // kNone or kGzip
  // No file of the layer is newer than this; later times are cut to it (SOURCE_DATE_EPOCH).
  std::optional<absl::Time> newest;
};

struct ComputeResult {
  content::Digest uncompressed;  // the diff id
};

// Writes to `sink` the layer that turns the tree of `left` into that of `right`, both given by their mounts (overlay
// or bind, read-only or not; nothing is mounted). The same trees give the same bytes. What only `left` has becomes a
// whiteout; names of one inode become hard links; sockets are left out. Of extended attributes user.*, ACLs and file
// capabilities are told. ABORTED when a file changes while it is read. Blocks for as long as it takes.
absl::StatusOr<ComputeResult> Compute(const std::vector<snapshotter::Mount>& left,
                                      const std::vector<snapshotter::Mount>& right,
                                      const ComputeOptions& options, const Sink& sink);

}  // namespace gantry::diff

#endif  // GANTRY_SNAPSHOTTER_DIFF_COMPUTE_H_
