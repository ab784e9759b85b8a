// What changed between two trees, in the order in which a layer tells it.
#ifndef GANTRY_SNAPSHOTTER_DIFF_COMPARE_H_
#define GANTRY_SNAPSHOTTER_DIFF_COMPARE_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "snapshotter/diff/merged_dir.h"

namespace gantry::diff {

struct Change {
  enum class Kind {
    kPresent,    // new or different on the right side, or a directory with such things in it
    kRemoved,    // only on the left side
    kUnchanged,  // a file with several names that is the same: it matters if another name of it is new
  };
  Kind kind = Kind::kPresent;
  std::string path;
  const MergedDir::Node* node = nullptr;  // of the right side; null for kRemoved. Valid during the call
};

// Calls `visit` for each change that makes `left` into `right`: parents before their children, names in the order of
// their bytes. The roots themselves are not compared. Two files are the same if kind, mode, owner, device,
// attributes, size, link target, modification time (in seconds) and, where these agree but the inodes differ,
// content are; two directories, if mode, owner and attributes are. Parts that both sides take from the same
// directories of the same layers are not even read, so that the time grows with the difference.
absl::Status Compare(const MergedDir& left, const MergedDir& right,
                     const std::function<absl::Status(const Change&)>& visit);

}  // namespace gantry::diff

#endif  // GANTRY_SNAPSHOTTER_DIFF_COMPARE_H_
