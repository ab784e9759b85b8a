#include "daemon/gc/graph.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/strip.h"
#include "api/proto/containerd/services/containers/v1/containers.pb.h"
#include "api/proto/containerd/services/content/v1/content.pb.h"
#include "api/proto/containerd/services/images/v1/images.pb.h"
#include "api/proto/containerd/services/leases/v1/leases.pb.h"
#include "api/proto/containerd/types/sandbox.pb.h"
#include "daemon/metadata/database.h"
#include "daemon/metadata/leases.h"
#include "daemon/metadata/schema.h"
#include "runtime/sys/status.h"

namespace gantry::gc {
namespace {

using containerd::services::containers::v1::Container;
using containerd::services::images::v1::Image;
using containerd::services::leases::v1::Lease;
using containerd::types::Sandbox;
using ContentInfo = containerd::services::content::v1::Info;
using IngestRecord = containerd::services::content::v1::Status;

constexpr absl::string_view kFlatLabel = "containerd.io/gc.flat";

// Calls visit(ns, rest of the key, message) for each record of a kind in every namespace.
template <typename Message, typename Visit>
absl::Status ForEach(const kv::Snapshot& records, absl::string_view family, const std::string& prefix,
                     Visit visit) {
  const auto it = records.Scan(family, prefix);
  for (; it->Valid(); it->Next()) {
    const metadata::KeyParts parts = metadata::SplitKey(it->key());
    Message message;
    GANTRY_RETURN_IF_ERROR(metadata::ParseRecord(it->key(), it->value(), &message));
    GANTRY_RETURN_IF_ERROR(visit(std::string(parts.ns), std::string(parts.rest), message));
  }
  return it->status();
}

// Reads one record; false if it is not there.
absl::StatusOr<bool> Find(const kv::Snapshot& records, absl::string_view family, const std::string& key,
                          google::protobuf::MessageLite* message) {
  auto value = records.Get(family, key);
  if (absl::IsNotFound(value.status())) return false;
  GANTRY_RETURN_IF_ERROR(value.status());
  GANTRY_RETURN_IF_ERROR(metadata::ParseRecord(key, *value, message));
  return true;
}

template <typename Labels>
void AddLabelReferences(const Node& node, const Labels& labels, std::vector<Node>* out) {
  if (node.flat) return;
  VisitLabels(node.ns, labels, {[out](Node to) { out->push_back(std::move(to)); }, nullptr, nullptr});
}

}  // namespace

absl::StatusOr<Graph> Graph::Read(const kv::Snapshot* records, SnapshotMap snapshots, absl::Time now) {
  Graph graph(records, std::move(snapshots), now);
  GANTRY_RETURN_IF_ERROR(graph.ReadObjects());
  GANTRY_RETURN_IF_ERROR(graph.ReadLeases());
  GANTRY_RETURN_IF_ERROR(graph.ReadContent());
  graph.ReadSnapshots();
  return graph;
}

template <typename Labels>
void Graph::NoteLabels(const Node& node, const Labels& labels, bool may_be_root) {
  VisitLabels(node.ns, labels,
              {nullptr, [&](Node referrer) { backward_[std::move(referrer)].push_back(node); },
               [&] {
                 if (may_be_root) roots_.push_back(node);
               }});
}

absl::Status Graph::ReadObjects() {
  GANTRY_RETURN_IF_ERROR(
      ForEach<Image>(*records_, metadata::kObjectsFamily, metadata::ImagesPrefix(""),
                     [&](const std::string& ns, const std::string& name, const Image& image) {
                       const Node node{Kind::kImage, false, ns, name};
                       removable_.push_back(node);
                       if (!IsExpired(image.labels(), now_)) roots_.push_back(node);
                       NoteLabels(node, image.labels(), false);
                       return absl::OkStatus();
                     }));
  // A sandbox is no node: what its labels refer to is kept.
  GANTRY_RETURN_IF_ERROR(
      ForEach<Sandbox>(*records_, metadata::kObjectsFamily, metadata::SandboxesPrefix(""),
                       [&](const std::string& ns, const std::string& id, const Sandbox& sandbox) {
                         AddLabelReferences({Kind::kContainer, false, ns, id}, sandbox.labels(), &roots_);
                         return absl::OkStatus();
                       }));
  return ForEach<Container>(*records_, metadata::kObjectsFamily, metadata::ContainersPrefix(""),
                            [&](const std::string& ns, const std::string& id, const Container& container) {
                              const Node node{Kind::kContainer, false, ns, id};
                              roots_.push_back(node);
                              NoteLabels(node, container.labels(), false);
                              return absl::OkStatus();
                            });
}

absl::Status Graph::ReadLeases() {
  return ForEach<Lease>(*records_, metadata::kLeasesFamily, metadata::LeasesPrefix(""),
                        [&](const std::string& ns, const std::string&, const Lease& lease) {
                          const Node node{Kind::kLease, false, ns, lease.id()};
                          removable_.push_back(node);
                          if (!IsExpired(lease.labels(), now_)) roots_.push_back(node);
                          return absl::OkStatus();
                        });
}

absl::Status Graph::ReadContent() {
  GANTRY_RETURN_IF_ERROR(
      ForEach<ContentInfo>(*records_, metadata::kContentFamily, metadata::BlobsPrefix(""),
                           [&](const std::string& ns, const std::string& digest, const ContentInfo& info) {
                             const Node node{Kind::kContent, false, ns, digest};
                             removable_.push_back(node);
                             NoteLabels(node, info.labels(), true);
                             return absl::OkStatus();
                           }));
  return ForEach<IngestRecord>(
      *records_, metadata::kContentFamily, metadata::IngestsPrefix(""),
      [&](const std::string& ns, const std::string& ref, const IngestRecord& ingest) {
        const Node node{Kind::kIngest, false, ns, ref};
        removable_.push_back(node);
        if (ingest.has_updated_at() && metadata::FromProto(ingest.updated_at()) > now_) {
          roots_.push_back(node);
        }
        return absl::OkStatus();
      });
}

void Graph::ReadSnapshots() {
  for (const auto& [node, facts] : snapshots_) {
    removable_.push_back(node);
    NoteLabels(node, facts.labels, true);
  }
}

absl::Status Graph::Reach(const std::vector<Node>& from, absl::flat_hash_set<Node>* reached) const {
  std::vector<Node> todo;
  for (const Node& node : from) {
    if (reached->insert(node).second) todo.push_back(node);
  }
  std::vector<Node> next;
  while (!todo.empty()) {
    const Node node = std::move(todo.back());
    todo.pop_back();
    next.clear();
    GANTRY_RETURN_IF_ERROR(References(node, &next));
    for (Node& to : next) {
      if (reached->insert(to).second) todo.push_back(std::move(to));
    }
  }
  return absl::OkStatus();
}

absl::Status Graph::LeaseResources(absl::string_view ns, absl::string_view lease, bool flat,
                                   std::vector<Node>* out) const {
  const std::string prefix = metadata::ResourcesPrefix(ns, lease);
  const auto it = records_->Scan(metadata::kLeasesFamily, prefix);
  for (; it->Valid(); it->Next()) {
    const metadata::ResourceParts parts = metadata::SplitResource(it->key().substr(prefix.size()));
    Node node{Kind::kContent, flat, std::string(ns), std::string(parts.id)};
    absl::string_view type = parts.type;
    if (absl::ConsumePrefix(&type, metadata::kSnapshotResource)) {
      node = SnapshotNode(ns, type, parts.id);
      node.flat = flat;
    } else if (type == metadata::kImageResource) {
      node.kind = Kind::kImage;
    } else if (type == metadata::kIngestResource) {
      node.kind = Kind::kIngest;
    } else if (type != metadata::kContentResource) {
      continue;  // of a newer version
    }
    out->push_back(std::move(node));
  }
  return it->status();
}

absl::Status Graph::ContentReferences(const Node& node, std::vector<Node>* out) const {
  if (node.flat) return absl::OkStatus();
  ContentInfo info;
  GANTRY_ASSIGN_OR_RETURN(const bool found, Find(*records_, metadata::kContentFamily,
                                                 metadata::BlobKey(node.ns, node.key), &info));
  if (found) AddLabelReferences(node, info.labels(), out);
  return absl::OkStatus();
}

absl::Status Graph::SnapshotReferences(const Node& node, std::vector<Node>* out) const {
  Node plain = node;
  plain.flat = false;
  const auto it = snapshots_.find(plain);
  if (it == snapshots_.end()) return absl::OkStatus();
  if (!it->second.parent.empty()) {
    out->push_back(SnapshotNode(node.ns, SplitSnapshot(node.key).snapshotter, it->second.parent));
    out->back().flat = node.flat;
  }
  AddLabelReferences(node, it->second.labels, out);
  return absl::OkStatus();
}

absl::Status Graph::ImageReferences(const Node& node, std::vector<Node>* out) const {
  Image image;
  GANTRY_ASSIGN_OR_RETURN(const bool found, Find(*records_, metadata::kObjectsFamily,
                                                 metadata::ImageKey(node.ns, node.key), &image));
  if (!found) return absl::OkStatus();
  out->push_back({Kind::kContent, node.flat, node.ns, image.target().digest()});
  AddLabelReferences(node, image.labels(), out);
  return absl::OkStatus();
}

absl::Status Graph::ContainerReferences(const Node& node, std::vector<Node>* out) const {
  Container container;
  GANTRY_ASSIGN_OR_RETURN(const bool found, Find(*records_, metadata::kObjectsFamily,
                                                 metadata::ContainerKey(node.ns, node.key), &container));
  if (!found) return absl::OkStatus();
  if (!container.snapshot_key().empty()) {
    out->push_back(SnapshotNode(node.ns, container.snapshotter(), container.snapshot_key()));
  }
  AddLabelReferences(node, container.labels(), out);
  return absl::OkStatus();
}

absl::Status Graph::IngestReferences(const Node& node, std::vector<Node>* out) const {
  IngestRecord ingest;
  GANTRY_ASSIGN_OR_RETURN(const bool found, Find(*records_, metadata::kContentFamily,
                                                 metadata::IngestKey(node.ns, node.key), &ingest));
  if (found && !ingest.expected().empty()) {
    out->push_back({Kind::kContent, false, node.ns, ingest.expected()});
  }
  return absl::OkStatus();
}

absl::Status Graph::LeaseReferences(const Node& node, std::vector<Node>* out) const {
  Lease lease;
  GANTRY_ASSIGN_OR_RETURN(const bool found, Find(*records_, metadata::kLeasesFamily,
                                                 metadata::LeaseKey(node.ns, node.key), &lease));
  if (!found) return absl::OkStatus();
  return LeaseResources(node.ns, node.key, lease.labels().contains(std::string(kFlatLabel)), out);
}

absl::Status Graph::References(const Node& node, std::vector<Node>* out) const {
  if (!node.flat) {
    if (const auto it = backward_.find(node); it != backward_.end()) {
      out->insert(out->end(), it->second.begin(), it->second.end());
    }
  }
  switch (node.kind) {
    case Kind::kContent:
      return ContentReferences(node, out);
    case Kind::kSnapshot:
      return SnapshotReferences(node, out);
    case Kind::kImage:
      return ImageReferences(node, out);
    case Kind::kContainer:
      return ContainerReferences(node, out);
    case Kind::kIngest:
      return IngestReferences(node, out);
    case Kind::kLease:
      return LeaseReferences(node, out);
  }
  return absl::OkStatus();
}

}  // namespace gantry::gc
