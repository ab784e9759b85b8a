#include "daemon/gc/snapshots.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/sys/status.h"

namespace gantry::gc {

absl::StatusOr<SnapshotMap> SnapshotterSet::ReadAll() {
  SnapshotMap result;
  for (const auto& [name, snapshotter] : snapshotters_) {
    const std::string& snapshotter_name = name;
    GANTRY_RETURN_IF_ERROR(snapshotter->Walk("", [&](const snapshotter::Info& info) {
      absl::string_view ns, key, parent_ns, parent;
      if (!snapshotter::SplitScopedKey(info.name, &ns, &key)) return absl::OkStatus();
      SnapshotFacts facts;
      if (snapshotter::SplitScopedKey(info.parent, &parent_ns, &parent)) facts.parent = std::string(parent);
      facts.labels = info.labels;
      facts.updated = info.updated;
      result.emplace(SnapshotNode(ns, snapshotter_name, key), std::move(facts));
      return absl::OkStatus();
    }));
  }
  return result;
}

absl::StatusOr<std::vector<std::string>> SnapshotterSet::HoldingsOf(absl::string_view ns) {
  std::vector<std::string> result;
  for (const auto& [name, snapshotter] : snapshotters_) {
    // Any status ends the walk: one snapshot is enough to know.
    const absl::Status status = snapshotter->Walk(
        absl::StrCat(ns, "/"), [](const snapshotter::Info&) { return absl::CancelledError(); });
    if (absl::IsCancelled(status)) {
      result.push_back(absl::StrCat("snapshots on \"", name, "\" snapshotter"));
    } else if (!status.ok()) {
      return status;
    }
  }
  return result;
}

absl::Status SnapshotterSet::Remove(const Node& snapshot) {
  const SnapshotKey parts = SplitSnapshot(snapshot.key);
  const auto it = snapshotters_.find(std::string(parts.snapshotter));
  if (it == snapshotters_.end()) {
    return absl::NotFoundError(absl::StrCat("snapshotter \"", parts.snapshotter, "\": not found"));
  }
  return it->second->Remove(snapshotter::ScopedKey(snapshot.ns, parts.key));
}

absl::Status SnapshotterSet::DeleteFiles() {
  absl::Status result;
  for (const auto& [name, snapshotter] : snapshotters_) result.Update(snapshotter->Cleanup());
  return result;
}

}  // namespace gantry::gc
