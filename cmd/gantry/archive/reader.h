// Reads a tar archive that a person handed in, member after member, plain or compressed by gzip or zstd.
//
// libarchive does the parsing (layers inside images are unpacked by the daemon, never here). Not thread-safe.
#ifndef GANTRY_CMD_GANTRY_ARCHIVE_READER_H_
#define GANTRY_CMD_GANTRY_ARCHIVE_READER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

struct archive;

namespace gantry::cli {

class ArchiveReader {
 public:
  struct Member {
    std::string path;  // normalised: no leading "./" or "/", no trailing "/"
    bool regular = false;
    uint64_t size_bytes = 0;
    std::string link_target;  // of symbolic and hard links, as stored
  };

  // Opens `path`; "-" is standard input. Errors name the path and say whether it is no archive at all.
  static absl::StatusOr<std::unique_ptr<ArchiveReader>> Open(const std::string& path);
  ~ArchiveReader();

  // Moves to the next member; false at the end. DATA_LOSS if the archive is truncated or damaged.
  absl::StatusOr<bool> Next(Member* member);

  // Reads up to `size` bytes of the current member; 0 at its end. DATA_LOSS as above.
  absl::StatusOr<size_t> Read(char* data, size_t size);

  // The whole current member; more than `limit_bytes` is RESOURCE_EXHAUSTED.
  absl::StatusOr<std::string> ReadWhole(size_t limit_bytes);

 private:
  ArchiveReader(struct archive* archive, std::string name) : archive_(archive), name_(std::move(name)) {}
  absl::Status Damaged() const;

  struct archive* archive_;
  std::string name_;
};

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_ARCHIVE_READER_H_
