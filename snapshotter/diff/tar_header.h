// The pieces of a tar archive's headers: numbers, the 512-byte block, pax records, sparse maps. Pure functions over
// bytes; TarReader puts them together.
//
// Sources: POSIX.1-2017 pax(1) ("ustar Interchange Format", "pax Interchange Format") and the GNU tar manual,
// appendix "Tar Internals". All errors are INVALID_ARGUMENT and begin with "tar: ".
#ifndef GANTRY_SNAPSHOTTER_DIFF_TAR_HEADER_H_
#define GANTRY_SNAPSHOTTER_DIFF_TAR_HEADER_H_

#include <time.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::diff {

inline constexpr size_t kTarBlockBytes = 512;
// A pax header, a GNU long name or a sparse map larger than this is refused (Go's archive/tar has the same limit,
// so no layer that containerd accepts is lost).
inline constexpr uint64_t kMaxSpecialBytes = 1 << 20;
// More extents than this in one sparse file are refused.
inline constexpr size_t kMaxSparseExtents = 1 << 17;

enum class TarFormat { kV7, kUstar, kStar, kGnu };

struct TarHeader {
  TarFormat format = TarFormat::kV7;
  char typeflag = '0';
  std::string name;
  std::string link;
  int64_t mode = 0;
  int64_t uid = 0;
  int64_t gid = 0;
  int64_t size = 0;
  int64_t mtime = 0;
  int64_t dev_major = 0;
  int64_t dev_minor = 0;
};

// A run of real data in a sparse file.
struct SparseExtent {
  int64_t offset = 0;
  int64_t length = 0;
  bool operator==(const SparseExtent&) const = default;
};

// What the old GNU sparse header (type 'S') adds in its own block.
struct GnuSparseHead {
  std::vector<SparseExtent> extents;
  int64_t real_size = 0;
  bool extended = false;  // an extension block follows
};

// The fields of one block of kTarBlockBytes, checksum verified.
absl::StatusOr<TarHeader> ParseTarHeader(absl::string_view block);

// A numeric field: octal with padding of spaces and NULs (empty is 0), or base-256 when its first bit is set.
absl::StatusOr<int64_t> ParseTarNumber(absl::string_view field);

absl::StatusOr<GnuSparseHead> ParseGnuSparseHead(absl::string_view block);
// Adds an extension block's extents; returns whether another follows.
absl::StatusOr<bool> ParseGnuSparseExtension(absl::string_view block, std::vector<SparseExtent>* extents);

// "<length> <key>=<value>\n" records, in their order, duplicates kept.
using PaxRecords = std::vector<std::pair<std::string, std::string>>;
absl::StatusOr<PaxRecords> ParsePaxRecords(absl::string_view body);

// A decimal integer, whole.
absl::StatusOr<int64_t> ParsePaxInteger(absl::string_view text);
// "[-]seconds[.fraction]"; the fraction beyond nanoseconds is cut off.
absl::StatusOr<timespec> ParsePaxTime(absl::string_view text);

// "offset,length,offset,length…": pax sparse format 0.1.
absl::StatusOr<std::vector<SparseExtent>> ParseSparseList(absl::string_view text);

// Extents must ascend, not overlap, lie within `real_size`, and hold `data_size` bytes together.
absl::Status CheckSparse(const std::vector<SparseExtent>& extents, int64_t real_size, int64_t data_size);

}  // namespace gantry::diff

#endif  // GANTRY_SNAPSHOTTER_DIFF_TAR_HEADER_H_
