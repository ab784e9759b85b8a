// The graph of references as it stood at one instant, and what can be reached in it.
#ifndef GANTRY_DAEMON_GC_GRAPH_H_
#define GANTRY_DAEMON_GC_GRAPH_H_

#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "content/kv/kv.h"
#include "daemon/gc/node.h"
#include "daemon/gc/snapshots.h"

namespace gantry::gc {

// One thread's.
class Graph {
 public:
  // `records` must stay as long as the graph.
  static absl::StatusOr<Graph> Read(const kv::Snapshot* records, SnapshotMap snapshots, absl::Time now);

  // What keeps itself: leases (with what they hold) and images that have not expired, containers, ingests in
  // their time, and whatever is labelled containerd.io/gc.root.
  const std::vector<Node>& roots() const { return roots_; }
  // All that a collection may remove: content, snapshots, ingests, images and leases.
  const std::vector<Node>& removable() const { return removable_; }
  const SnapshotMap& snapshots() const { return snapshots_; }

  // Adds `from` and all that can be reached from it to `reached`. What is there already is not looked at
  // again.
  absl::Status Reach(const std::vector<Node>& from, absl::flat_hash_set<Node>* reached) const;
  // What `node` refers to; nothing if it is not there.
  absl::Status References(const Node& node, std::vector<Node>* out) const;

 private:
  Graph(const kv::Snapshot* records, SnapshotMap snapshots, absl::Time now)
      : records_(records), snapshots_(std::move(snapshots)), now_(now) {}
  absl::Status ReadObjects();
  absl::Status ReadLeases();
  absl::Status ReadContent();
  void ReadSnapshots();
  template <typename Labels>
  void NoteLabels(const Node& node, const Labels& labels, bool may_be_root);
  absl::Status ContentReferences(const Node& node, std::vector<Node>* out) const;
  absl::Status SnapshotReferences(const Node& node, std::vector<Node>* out) const;
  absl::Status ImageReferences(const Node& node, std::vector<Node>* out) const;
  absl::Status ContainerReferences(const Node& node, std::vector<Node>* out) const;
  absl::Status IngestReferences(const Node& node, std::vector<Node>* out) const;
  absl::Status LeaseReferences(const Node& node, std::vector<Node>* out) const;
  absl::Status LeaseResources(absl::string_view ns, absl::string_view lease, bool flat,
                              std::vector<Node>* out) const;

  const kv::Snapshot* records_;
  SnapshotMap snapshots_;
  absl::Time now_;
  std::vector<Node> roots_;
  std::vector<Node> removable_;
  absl::flat_hash_map<Node, std::vector<Node>> backward_;  // from the labels containerd.io/gc.bref.*
};

}  // namespace gantry::gc

#endif  // GANTRY_DAEMON_GC_GRAPH_H_
