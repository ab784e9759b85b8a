// Writes a tar archive in pax form (POSIX.1-2001): plain ustar headers wherever they can hold what is to be said, a
// pax header before them where not. The same entries give the same bytes. Not thread-safe.
#ifndef GANTRY_SNAPSHOTTER_DIFF_TAR_WRITER_H_
#define GANTRY_SNAPSHOTTER_DIFF_TAR_WRITER_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "snapshotter/diff/tar_reader.h"

namespace gantry::diff {

// Takes bytes, in order.
using Sink = std::function<absl::Status(absl::string_view)>;

class TarWriter {
 public:
  explicit TarWriter(Sink sink) : sink_(std::move(sink)) {}

  // `entry.name` is relative, a directory's without the trailing slash. Times are cut to seconds, as containerd
  // does, so that a layer doesn't depend on the file system's precision. `atime` and `sparse` are ignored. A file's
  // `size` bytes follow by AddContent.
  absl::Status AddHeader(const TarEntry& entry);
  // INTERNAL if there is more than the header promised.
  absl::Status AddContent(absl::string_view bytes);
  // The end: two zero blocks.
  absl::Status Finish();

 private:
  absl::Status AddPax(const TarEntry& entry, const std::string& name);
  absl::Status Pad();

  Sink sink_;
  int64_t content_left_ = 0;
  int64_t written_ = 0;
};

}  // namespace gantry::diff

#endif  // GANTRY_SNAPSHOTTER_DIFF_TAR_WRITER_H_
