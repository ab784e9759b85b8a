// Decompression of a layer while it streams by: gzip (any number of members, RFC 1952), zstd (any number of
// frames, RFC 8878), or none. The form is told by the first bytes, as containerd does for its layer types, because
// media types in the wild do not always tell the truth; the digest of the result decides.
//
// Memory is bounded by the window: 32 KiB for gzip, at most 128 MiB for zstd (a frame that wants more is
// refused), however much a bomb inflates to.
#ifndef GANTRY_SNAPSHOTTER_DIFF_DECOMPRESS_H_
#define GANTRY_SNAPSHOTTER_DIFF_DECOMPRESS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "snapshotter/diff/source.h"

namespace gantry::diff {

enum class Compression { kNone, kGzip, kZstd };

// By the magic number that `head`, a stream's first bytes (4 are enough), begins with.
Compression DetectCompression(absl::string_view head);

// The uncompressed bytes of `from`. A damaged stream is DATA_LOSS: a wrong checksum, an early end, garbage after
// the last member. Zero bytes after a gzip member are padding and pass.
absl::StatusOr<std::unique_ptr<Source>> Decompress(std::unique_ptr<Source> from);

}  // namespace gantry::diff

#endif  // GANTRY_SNAPSHOTTER_DIFF_DECOMPRESS_H_
