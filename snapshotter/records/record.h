// What is kept about each snapshot, and how it stands in the record store.
//
// Family "snapshots" (kFamily), for each driver ("overlayfs", "native"):
//
//   <driver> 00 'r' <key or name>                   the record; see EncodeRecord
//   <driver> 00 'c' <parent's id> <child's id>      one for each child; ids as 8 bytes, big-endian
//   <driver> 00 'n'                                 the next id, 8 bytes, big-endian
//
// Thread-safe: plain functions.
#ifndef GANTRY_SNAPSHOTTER_RECORDS_RECORD_H_
#define GANTRY_SNAPSHOTTER_RECORDS_RECORD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "content/kv/kv.h"
#include "snapshotter/snapshotter.h"

namespace gantry::snapshotter {

inline constexpr absl::string_view kFamily = "snapshots";

struct Record {
  uint64_t id = 0;  // names its directory; never given twice
  Info info;
  Usage usage;  // of committed snapshots
  // The ids of its ancestors, the parent's first. They can be kept because a committed snapshot never changes:
  // the mounts of a snapshot on ninety layers need one read.
  std::vector<uint64_t> parents;
};

kv::RecordName RecordKey(absl::string_view driver, absl::string_view key);
std::string RecordPrefix(absl::string_view driver, absl::string_view key_prefix);
std::string ChildKey(absl::string_view driver, uint64_t parent_id, uint64_t child_id);
std::string ChildPrefix(absl::string_view driver, uint64_t parent_id);
std::string NextIdKey(absl::string_view driver);

std::string EncodeId(uint64_t id);
// 0 unless `bytes` is what EncodeId gives.
uint64_t DecodeId(absl::string_view bytes);

// A version byte, then all fields but the key; numbers as LEB128, texts with their length before them.
std::string EncodeRecord(const Record& record);
// DATA_LOSS, naming the snapshot, for bytes that EncodeRecord did not make.
absl::StatusOr<Record> DecodeRecord(absl::string_view key, absl::string_view bytes);

}  // namespace gantry::snapshotter

#endif  // GANTRY_SNAPSHOTTER_RECORDS_RECORD_H_
