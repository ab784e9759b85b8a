// Reads a tar archive entry by entry, from a stream, touching nothing but its source: the file systems of images
// come from strangers, so this is the first place that bytes of theirs meet, and it is fuzzed.
//
// Understood: v7, ustar, star, pax (POSIX.1-2001) and GNU headers; long names and links of both; base-256
// numbers; sparse files (old GNU, pax 0.0, 0.1 and 1.0); extended attributes (SCHILY.xattr.*); times in
// nanoseconds. Global pax headers are skipped, as containerd does. Refused by name: multi-volume parts, GNU
// incremental dumps and whatever else has a type that is no file.
//
// Memory stays bounded: kMaxSpecialBytes for one entry's headers, kMaxSparseExtents, and never the content.
#ifndef GANTRY_SNAPSHOTTER_DIFF_TAR_READER_H_
#define GANTRY_SNAPSHOTTER_DIFF_TAR_READER_H_

#include <time.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "snapshotter/diff/source.h"
#include "snapshotter/diff/tar_header.h"

namespace gantry::diff {

enum class EntryType { kFile, kHardlink, kSymlink, kCharDevice, kBlockDevice, kDirectory, kFifo };

struct TarEntry {
  EntryType type = EntryType::kFile;
  std::string name;   // as written: may be absolute, hold "..", end in '/'. No NUL, not empty.
  std::string link;   // target of a hard link or symlink
  uint32_t mode = 0;  // the twelve permission bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t size = 0;  // a file's length, holes included; 0 for others
  timespec mtime = {};
  timespec atime = {};  // {0, 0} when the archive has none
  uint32_t dev_major = 0;
  uint32_t dev_minor = 0;
  bool sparse = false;
  std::vector<std::pair<std::string, std::string>> xattrs;  // full names ("security.capability")
};

// Not thread-safe.
class TarReader {
 public:
  // `input` is not owned.
  explicit TarReader(InputBuffer* input) : input_(input) {}

  // The next entry; false at the archive's end (two zero blocks, or the source's end between entries). Content
  // of the entry before that was not read is skipped. INVALID_ARGUMENT ("tar: …") for what breaks the format's
  // rules, DATA_LOSS when the stream ends too early. After an error the reader is of no more use.
  absl::StatusOr<bool> Next(TarEntry* entry);

  // A piece of the current file's content and its place. Empty bytes: no more. What lies between pieces is a
  // hole (zeros).
  struct Piece {
    int64_t offset = 0;
    absl::string_view bytes;  // valid until the next call
  };
  absl::StatusOr<Piece> ReadPiece();

 private:
  struct Overrides;  // what pax and GNU headers say about the entry to come

  absl::StatusOr<bool> NextHeader(TarHeader* header, std::string* block);
  absl::Status FinishContent();
  absl::StatusOr<std::string> ReadSpecial(const TarHeader& header);
  absl::Status ReadPax(const TarHeader& header, Overrides* overrides);
  absl::Status BeginEntry(const TarHeader& header, absl::string_view block, Overrides overrides,
                          TarEntry* entry);
  absl::Status BeginContent(const TarHeader& header, absl::string_view block, const Overrides& overrides,
                            int64_t size, TarEntry* entry);
  absl::StatusOr<std::vector<SparseExtent>> ReadSparseMap(int64_t* data_size);

  InputBuffer* input_;
  int64_t data_left_ = 0;     // bytes of content still in the source
  int64_t padding_left_ = 0;  // and the zeros up to the block's end after them
  std::vector<SparseExtent> extents_;
  size_t extent_ = 0;
  int64_t extent_done_ = 0;
  int64_t entries_ = 0;
};

}  // namespace gantry::diff

#endif  // GANTRY_SNAPSHOTTER_DIFF_TAR_READER_H_
