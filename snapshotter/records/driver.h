// What differs between snapshotters: the directories. Everything else is RecordedSnapshotter's.
#ifndef GANTRY_SNAPSHOTTER_RECORDS_DRIVER_H_
#define GANTRY_SNAPSHOTTER_RECORDS_DRIVER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "snapshotter/records/directories.h"
#include "snapshotter/records/record.h"
#include "snapshotter/snapshotter.h"

namespace gantry::snapshotter {

// Called from any thread; at most one call for the same id at a time, but for Mounts.
class Driver {
 public:
  virtual ~Driver() = default;

  // Makes the directories of a new snapshot (kActive or kView) in <root>/snapshots/<id>. Called before there is
  // a record; what a failed or interrupted call leaves is discarded by others.
  virtual absl::Status Create(const Record& record) = 0;

  // No I/O. `record` is no committed one.
  virtual std::vector<Mount> Mounts(const Record& record) const = 0;

  // What the active snapshot takes now.
  virtual absl::StatusOr<Usage> Measure(const Record& record) = 0;

  // What the driver adds to what a record tells, each time it is told.
  virtual void Decorate(const Record& record, Info* info) const {
    (void)record;
    (void)info;
  }

  virtual Directories& directories() = 0;
};

}  // namespace gantry::snapshotter

#endif  // GANTRY_SNAPSHOTTER_RECORDS_DRIVER_H_
