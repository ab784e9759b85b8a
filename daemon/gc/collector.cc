#include "daemon/gc/collector.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "api/proto/containerd/events/image.pb.h"
#include "api/proto/containerd/events/snapshot.pb.h"
#include "api/proto/containerd/services/content/v1/content.pb.h"
#include "daemon/metadata/leases.h"
#include "daemon/metadata/schema.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry::gc {
namespace {

constexpr size_t kFilesPerLock = 64;

bool IsReached(const absl::flat_hash_set<Node>& reached, Node node) {
  if (reached.contains(node)) return true;
  node.flat = true;
  return reached.contains(node);
}

// The node that a record stands for; false for one that is none (a namespace, a snapshotter's own).
bool NodeOfRecord(const kv::RecordName& name, std::vector<Node>* out) {
  const metadata::KeyParts parts = metadata::SplitKey(name.key);
  const std::string ns(parts.ns), rest(parts.rest);
  if (name.family == metadata::kContentFamily) {
    out->push_back({parts.kind == "blob" ? Kind::kContent : Kind::kIngest, false, ns, rest});
  } else if (name.family == metadata::kObjectsFamily && parts.kind == "image") {
    out->push_back({Kind::kImage, false, ns, rest});
  } else if (name.family == metadata::kObjectsFamily && parts.kind == "container") {
    out->push_back({Kind::kContainer, false, ns, rest});
  } else {
    return false;
  }
  return true;
}

// Children before their parents.
std::vector<Node> SnapshotsInOrderOfRemoval(const std::vector<Node>& garbage, const SnapshotMap& snapshots) {
  std::vector<std::pair<size_t, Node>> by_depth;
  for (const Node& node : garbage) {
    if (node.kind != Kind::kSnapshot) continue;
    size_t depth = 0;
    for (auto it = snapshots.find(node); it != snapshots.end() && !it->second.parent.empty(); ++depth) {
      it = snapshots.find(SnapshotNode(node.ns, SplitSnapshot(node.key).snapshotter, it->second.parent));
      if (depth > snapshots.size()) break;  // a ring: damaged records
    }
    by_depth.emplace_back(depth, node);
  }
  std::sort(by_depth.begin(), by_depth.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  std::vector<Node> result;
  result.reserve(by_depth.size());
  for (auto& [depth, node] : by_depth) result.push_back(std::move(node));
  return result;
}

absl::Status AddRemoval(const kv::Database& records, const Node& node, kv::WriteBatch* batch) {
  switch (node.kind) {
    case Kind::kContent:
      batch->Delete(metadata::kContentFamily, metadata::BlobKey(node.ns, node.key));
      break;
    case Kind::kIngest:
      batch->Delete(metadata::kContentFamily, metadata::IngestKey(node.ns, node.key));
      break;
    case Kind::kImage:
      batch->Delete(metadata::kObjectsFamily, metadata::ImageKey(node.ns, node.key));
      break;
    case Kind::kLease: {
      batch->Delete(metadata::kLeasesFamily, metadata::LeaseKey(node.ns, node.key));
      const auto it = records.Scan(metadata::kLeasesFamily, metadata::ResourcesPrefix(node.ns, node.key));
      for (; it->Valid(); it->Next()) batch->Delete(metadata::kLeasesFamily, it->key());
      return it->status();
    }
    case Kind::kSnapshot:
    case Kind::kContainer:
      break;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Collected> Collector::Collect() {
  std::lock_guard<std::mutex> one(one_at_a_time_);
  const absl::Time now = sys::WallNow();
  std::vector<Node> removed;
  {
    // Begun before the snapshot: a change is in one of them, or in both.
    const auto recorder = database_.records()->RecordChanges();
    const auto records = database_.records()->NewSnapshot();
    GANTRY_ASSIGN_OR_RETURN(SnapshotMap snapshots, snapshots_.ReadAll());
    GANTRY_ASSIGN_OR_RETURN(const Graph graph, Graph::Read(records.get(), std::move(snapshots), now));
    absl::flat_hash_set<Node> reached;
    GANTRY_RETURN_IF_ERROR(graph.Reach(graph.roots(), &reached));
    const bool clean = std::all_of(graph.removable().begin(), graph.removable().end(),
                                   [&](const Node& node) { return IsReached(reached, node); });
    if (!clean) {
      GANTRY_ASSIGN_OR_RETURN(removed, Sweep(graph, std::move(reached), recorder.get(), now));
    }
  }
  PublishRemovals(removed);
  Collected collected;
  collected.records = static_cast<int64_t>(removed.size());
  GANTRY_ASSIGN_OR_RETURN(collected.files, RemoveFiles(!removed.empty()));
  // Who asked for this collection counts on the room that it makes, also what Remove left to the background.
  GANTRY_RETURN_IF_ERROR(snapshots_.DeleteFiles());
  return collected;
}

absl::StatusOr<std::vector<Node>> Collector::Sweep(const Graph& before, absl::flat_hash_set<Node> reached,
                                                   kv::ChangeRecorder* recorder, absl::Time now) {
  const auto lock = database_.records()->LockExclusively();
  const std::vector<kv::RecordName> changed = recorder->Take();
  if (!changed.empty()) {
    const auto records = database_.records()->NewSnapshot();
    GANTRY_ASSIGN_OR_RETURN(SnapshotMap snapshots, snapshots_.ReadAll());
    GANTRY_ASSIGN_OR_RETURN(const Graph present, Graph::Read(records.get(), std::move(snapshots), now));
    GANTRY_RETURN_IF_ERROR(ReachChanged(before, present, changed, &reached));
  }
  std::vector<Node> garbage;
  for (const Node& node : before.removable()) {
    if (!IsReached(reached, node)) garbage.push_back(node);
  }
  return RemoveRecords(garbage, before.snapshots());
}

absl::Status Collector::ReachChanged(const Graph& before, const Graph& present,
                                     const std::vector<kv::RecordName>& changed,
                                     absl::flat_hash_set<Node>* reached) const {
  std::vector<Node> touched;
  bool leases = false;
  for (const kv::RecordName& name : changed) {
    if (!NodeOfRecord(name, &touched)) leases = leases || name.family == metadata::kLeasesFamily;
  }
  // Which lease a resource belongs to need not be told apart: few calls write leases during a mark.
  for (const Node& root : present.roots()) {
    if (leases && root.kind == Kind::kLease) touched.push_back(root);
  }
  for (const auto& [node, facts] : present.snapshots()) {
    const auto old = before.snapshots().find(node);
    if (old == before.snapshots().end() || old->second.updated != facts.updated ||
        old->second.parent != facts.parent) {
      touched.push_back(node);
    }
  }
  // What was reached through the old records may refer to more now: look at it again.
  for (const Node& node : touched) reached->erase(node);
  return present.Reach(touched, reached);
}

absl::StatusOr<std::vector<Node>> Collector::RemoveRecords(const std::vector<Node>& garbage,
                                                           const SnapshotMap& snapshots) {
  std::vector<Node> removed;
  kv::WriteBatch batch;
  for (const Node& node : garbage) {
    if (node.kind == Kind::kSnapshot) continue;
    GANTRY_RETURN_IF_ERROR(AddRemoval(*database_.records(), node, &batch));
    removed.push_back(node);
  }
  if (!batch.empty()) {
    GANTRY_RETURN_IF_ERROR(database_.records()->Write(batch, kv::Durability::kSynced));
  }
  for (const Node& node : SnapshotsInOrderOfRemoval(garbage, snapshots)) {
    const absl::Status status = snapshots_.Remove(node);
    if (status.ok()) {
      removed.push_back(node);
    } else if (!absl::IsNotFound(status)) {
      // One that stays, by whatever mishap, must not keep the others.
      log::Warn("garbage collection: a snapshot stays",
                {{"namespace", node.ns}, {"snapshot", node.key}, {"error", status.ToString()}});
    }
  }
  return removed;
}

void Collector::PublishRemovals(const std::vector<Node>& removed) {
  for (const Node& node : removed) {
    absl::Status status;
    if (node.kind == Kind::kImage) {
      containerd::services::images::v1::ImageDelete event;
      event.set_name(node.key);
      status = publisher_.Publish(node.ns, "/images/delete", event);
    } else if (node.kind == Kind::kSnapshot) {
      const SnapshotKey parts = SplitSnapshot(node.key);
      containerd::events::SnapshotRemove event;
      event.set_key(std::string(parts.key));
      event.set_snapshotter(std::string(parts.snapshotter));
      status = publisher_.Publish(node.ns, "/snapshot/remove", event);
    }
    if (!status.ok()) log::Warn("cannot publish", {{"error", status.ToString()}});
  }
}

absl::StatusOr<int64_t> Collector::RemoveFiles(bool swept) {
  const int64_t removals = database_.removals();
  // Files become garbage only by a removal, ours or a client's; and by a crash, so look at the first time.
  if (!swept && removals == removals_seen_) return 0;
  GANTRY_ASSIGN_OR_RETURN(const int64_t blobs, RemoveBlobFiles());
  GANTRY_ASSIGN_OR_RETURN(const int64_t ingests, RemoveIngestFiles());
  removals_seen_ = removals;
  return blobs + ingests;
}

absl::StatusOr<bool> Collector::IsBlobUsed(const content::Digest& digest,
                                           const std::vector<std::string>& namespaces,
                                           const absl::flat_hash_set<std::string>& expected) const {
  const std::string name = digest.ToString();
  // The pin first: it is let go only after the record is there.
  if (content_.pins().Holds(digest) || expected.contains(name)) return true;
  for (const std::string& ns : namespaces) {
    const absl::Status status =
        database_.records()->Get(metadata::kContentFamily, metadata::BlobKey(ns, name)).status();
    if (status.ok()) return true;
    if (!absl::IsNotFound(status)) return status;
  }
  return false;
}

absl::StatusOr<int64_t> Collector::RemoveBlobFiles() {
  // Without a lock: which files have no record. They are looked at again before they go.
  absl::flat_hash_set<std::string> known;
  const auto blobs = database_.records()->Scan(metadata::kContentFamily, metadata::BlobsPrefix(""));
  for (; blobs->Valid(); blobs->Next()) known.insert(std::string(metadata::SplitKey(blobs->key()).rest));
  GANTRY_RETURN_IF_ERROR(blobs->status());
  std::vector<content::Digest> suspects;
  GANTRY_RETURN_IF_ERROR(content_.files().Walk([&](const content::BlobInfo& info) {
    if (!known.contains(info.digest.ToString())) suspects.push_back(info.digest);
    return absl::OkStatus();
  }));

  int64_t count = 0;
  for (size_t begin = 0; begin < suspects.size(); begin += kFilesPerLock) {
    // Open descriptors keep the kernel from freeing the blocks, which takes long, under our lock.
    std::vector<std::unique_ptr<content::ReaderAt>> kept;
    const auto lock = database_.records()->LockExclusively();
    std::vector<std::string> namespaces;
    const auto all = database_.records()->Scan(metadata::kObjectsFamily, metadata::kNamespaces);
    for (; all->Valid(); all->Next()) namespaces.emplace_back(metadata::SplitKey(all->key()).ns);
    GANTRY_RETURN_IF_ERROR(all->status());
    absl::flat_hash_set<std::string> expected;
    const auto ingests = database_.records()->Scan(metadata::kContentFamily, metadata::IngestsPrefix(""));
    for (; ingests->Valid(); ingests->Next()) {
      containerd::services::content::v1::Status record;
      GANTRY_RETURN_IF_ERROR(metadata::ParseRecord(ingests->key(), ingests->value(), &record));
      if (!record.expected().empty()) expected.insert(record.expected());
    }
    GANTRY_RETURN_IF_ERROR(ingests->status());
    for (size_t i = begin; i < std::min(begin + kFilesPerLock, suspects.size()); ++i) {
      GANTRY_ASSIGN_OR_RETURN(const bool used, IsBlobUsed(suspects[i], namespaces, expected));
      if (used) continue;
      if (auto reader = content_.files().Open(suspects[i]); reader.ok()) kept.push_back(*std::move(reader));
      const absl::Status status = content_.files().Delete(suspects[i]);
      if (!status.ok() && !absl::IsNotFound(status)) return status;
      ++count;
    }
  }
  return count;
}

absl::StatusOr<int64_t> Collector::RemoveIngestFiles() {
  GANTRY_ASSIGN_OR_RETURN(const std::vector<content::IngestStatus> statuses, content_.files().ListStatuses());
  int64_t count = 0;
  for (const content::IngestStatus& status : statuses) {
    // The ref of a file is "<namespace>/<ref>": see metadata::IngestRef.
    const size_t slash = status.ref.find('/');
    const absl::string_view ref(status.ref);
    const std::string key = slash == std::string::npos
                                ? metadata::IngestKey("", ref)
                                : metadata::IngestKey(ref.substr(0, slash), ref.substr(slash + 1));
    const auto lock = database_.records()->Lock({{std::string(metadata::kContentFamily), key}});
    const absl::Status known = database_.records()->Get(metadata::kContentFamily, key).status();
    if (known.ok()) continue;
    if (!absl::IsNotFound(known)) return known;
    const absl::Status aborted = content_.files().Abort(status.ref);
    if (!aborted.ok() && !absl::IsNotFound(aborted)) return aborted;
    ++count;
  }
  return count;
}

}  // namespace gantry::gc
