// One garbage collection: finds what nothing refers to any more, and removes it.
//
// 1. Mark, on a snapshot of the records: nobody waits, whatever its size.
// 2. Sweep, with everybody else held off for milliseconds: what was written since the snapshot (a
//    kv::ChangeRecorder names it) counts as reached, with all that it refers to; what then is still unreached
//    loses its record, in one batch.
// 3. Files: blobs and ingests without a record are deleted, a few at a time, and what removed snapshots left. So a
//    crash between 2 and 3 only leaves work for the next collection, and a file that never got its record goes the
//    same way. When Collect returns, the room is free.
//
// Thread-safe; collections run one after the other. Blocks on the disk.
#ifndef GANTRY_DAEMON_GC_COLLECTOR_H_
#define GANTRY_DAEMON_GC_COLLECTOR_H_

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "content/digest.h"
#include "content/kv/kv.h"
#include "daemon/events/exchange.h"
#include "daemon/gc/graph.h"
#include "daemon/gc/node.h"
#include "daemon/gc/snapshots.h"
#include "daemon/metadata/content.h"
#include "daemon/metadata/database.h"

namespace gantry::gc {

struct Collected {
  int64_t records = 0;  // of blobs, snapshots, ingests, images and leases
  int64_t files = 0;    // of blobs and ingests
};

class Collector {
 public:
  // All stay the caller's.
  Collector(metadata::Database* database, metadata::ContentStore* content, Snapshots* snapshots,
            events::Publisher* publisher)
      : database_(*database), content_(*content), snapshots_(*snapshots), publisher_(*publisher) {}

  absl::StatusOr<Collected> Collect();

 private:
  // Step 2. Returns the nodes that went.
  absl::StatusOr<std::vector<Node>> Sweep(const Graph& before, absl::flat_hash_set<Node> reached,
                                          kv::ChangeRecorder* recorder, absl::Time now);
  // Adds to `reached` what was written since `before` was read, and what that refers to.
  absl::Status ReachChanged(const Graph& before, const Graph& present,
                            const std::vector<kv::RecordName>& changed,
                            absl::flat_hash_set<Node>* reached) const;
  absl::StatusOr<std::vector<Node>> RemoveRecords(const std::vector<Node>& garbage,
                                                  const SnapshotMap& snapshots);
  absl::StatusOr<int64_t> RemoveFiles(bool swept);
  absl::StatusOr<int64_t> RemoveBlobFiles();
  absl::StatusOr<int64_t> RemoveIngestFiles();
  // Whether any namespace has the blob, or an ingest is about to. Under the exclusive lock.
  absl::StatusOr<bool> IsBlobUsed(const content::Digest& digest, const std::vector<std::string>& namespaces,
                                  const absl::flat_hash_set<std::string>& expected) const;
  void PublishRemovals(const std::vector<Node>& removed);

  metadata::Database& database_;
  metadata::ContentStore& content_;
  Snapshots& snapshots_;
  events::Publisher& publisher_;
  std::mutex one_at_a_time_;
  int64_t removals_seen_ = -1;  // of the database, when files were looked through last
};

}  // namespace gantry::gc

#endif  // GANTRY_DAEMON_GC_COLLECTOR_H_
