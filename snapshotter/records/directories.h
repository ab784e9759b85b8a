// The directories of a driver: one for each snapshot, named by its id, and a trash beside them.
//
//   <root>/                  0700
//     snapshots/<id>/…       what the driver keeps
//     trash/<id>             removed, waits for its deletion
//
// Thread-safe.
#ifndef GANTRY_SNAPSHOTTER_RECORDS_DIRECTORIES_H_
#define GANTRY_SNAPSHOTTER_RECORDS_DIRECTORIES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "runtime/sys/unique_fd.h"
#include "snapshotter/snapshotter.h"

namespace gantry::snapshotter {

class Directories {
 public:
  // Makes what is missing of the layout above.
  static absl::StatusOr<std::unique_ptr<Directories>> Open(const std::string& root);

  const std::string& root() const { return root_; }
  // <root>/snapshots/<id>
  std::string PathOf(uint64_t id) const;
  // <root>/snapshots
  int snapshots_fd() const { return snapshots_.get(); }

  // All snapshots' directories. What is there under a name that is no id is left alone.
  absl::StatusOr<std::vector<uint64_t>> List() const;
  // One rename into the trash; a directory that is not there is no error.
  absl::Status Discard(uint64_t id);
  // Deletes what is in the trash. Calls wait for each other.
  absl::Status EmptyTrash();
  // syncfs(2) of the file system that holds the snapshots.
  absl::Status Sync() const;

 private:
  Directories(std::string root, sys::UniqueFd snapshots, sys::UniqueFd trash)
      : root_(std::move(root)), snapshots_(std::move(snapshots)), trash_(std::move(trash)) {}

  const std::string root_;
  const sys::UniqueFd snapshots_;
  const sys::UniqueFd trash_;
  absl::Mutex emptying_;
};

// What the files at `path` and below take: blocks, not lengths; an inode with several names once; `path` itself
// too; not across mount points.
absl::StatusOr<Usage> MeasureUsage(const std::string& path);

}  // namespace gantry::snapshotter

#endif  // GANTRY_SNAPSHOTTER_RECORDS_DIRECTORIES_H_
