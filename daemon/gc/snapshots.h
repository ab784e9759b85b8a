// The snapshotters as the collector sees them.
#ifndef GANTRY_DAEMON_GC_SNAPSHOTS_H_
#define GANTRY_DAEMON_GC_SNAPSHOTS_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "daemon/gc/node.h"
#include "snapshotter/snapshotter.h"

namespace gantry::gc {

struct SnapshotFacts {
  std::string parent;  // its key; empty: none
  std::map<std::string, std::string> labels;
  absl::Time updated;
};

// By node. Ordered, so that one namespace's snapshots of one snapshotter stand together.
using SnapshotMap = std::map<Node, SnapshotFacts>;

// Thread-safe.
class Snapshots {
 public:
  virtual ~Snapshots() = default;
  // All snapshots of all namespaces. Those of one snapshotter as they stood at one instant.
  virtual absl::StatusOr<SnapshotMap> ReadAll() = 0;
  // The words for what a namespace still has ("snapshots on \"overlayfs\" snapshotter").
  virtual absl::StatusOr<std::vector<std::string>> HoldingsOf(absl::string_view ns) = 0;
  // FAILED_PRECONDITION if others stand on it, NOT_FOUND if it went already. Its files go in the background.
  virtual absl::Status Remove(const Node& snapshot) = 0;
  // Returns when the files of all removed snapshots are gone.
  virtual absl::Status DeleteFiles() = 0;
};

// Over the daemon's snapshotters, by name, whose keys are scoped by namespace. They stay the caller's.
class SnapshotterSet : public Snapshots {
 public:
  explicit SnapshotterSet(std::map<std::string, snapshotter::Snapshotter*> snapshotters)
      : snapshotters_(std::move(snapshotters)) {}
  absl::StatusOr<SnapshotMap> ReadAll() override;
  absl::StatusOr<std::vector<std::string>> HoldingsOf(absl::string_view ns) override;
  absl::Status Remove(const Node& snapshot) override;
  absl::Status DeleteFiles() override;

 private:
  const std::map<std::string, snapshotter::Snapshotter*> snapshotters_;
};

}  // namespace gantry::gc

#endif  // GANTRY_DAEMON_GC_SNAPSHOTS_H_
