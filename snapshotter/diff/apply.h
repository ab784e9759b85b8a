// Unpacking a layer into a snapshot: the Apply of containerd's diff service.
#ifndef GANTRY_SNAPSHOTTER_DIFF_APPLY_H_
#define GANTRY_SNAPSHOTTER_DIFF_APPLY_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "content/digest.h"
#include "snapshotter/diff/read_ahead.h"
#include "snapshotter/diff/source.h"
#include "snapshotter/diff/target.h"
#include "snapshotter/snapshotter.h"

namespace gantry::diff {

struct ApplyResult {
  content::Digest digest;  // of the uncompressed bytes: the diff id
  int64_t size_bytes = 0;  // of them
};

// Where a layer for a snapshot with these mounts has to be written: the upper directory of an overlay, or the
// source of a bind mount. Nothing is mounted for it. FAILED_PRECONDITION for read-only mounts, UNIMPLEMENTED for
// other file systems.
absl::StatusOr<TargetOptions> TargetOfMounts(const std::vector<snapshotter::Mount>& mounts);

// Reads `blob` (compressed or not, see decompress.h) to its end, and makes its entries in the target. One pass;
// memory stays bounded. On an error some entries may be there: the caller throws the snapshot away. Nothing is
// synced: that is part of the snapshot's Commit. Blocks for as long as it takes.
// `helper`, if there is one, may lend a second thread, on which the blob is read and inflated meanwhile.
absl::StatusOr<ApplyResult> Apply(std::unique_ptr<Source> blob, TargetOptions target, Executor helper = {});

}  // namespace gantry::diff

#endif  // GANTRY_SNAPSHOTTER_DIFF_APPLY_H_
