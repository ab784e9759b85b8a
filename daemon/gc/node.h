// The vertices of the graph of references, and the references that labels make.
//
//   lease ──▶ content, ingests, images, snapshots        image ──▶ content (its target)
//   container ──▶ snapshot                               snapshot ──▶ snapshot (its parent)
//   ingest ──▶ content (that it will become)             anything ──▶ whatever its labels name:
//
//   containerd.io/gc.ref.content[.<x>|/<x>]              = digest
//   containerd.io/gc.ref.image[.<x>|/<x>]                = image name
//   containerd.io/gc.ref.snapshot.<snapshotter>[/<x>]    = snapshot key
//   containerd.io/gc.bref.{container,content,image}[…]   = the object that refers to this one (backwards)
//   containerd.io/gc.bref.snapshot.<snapshotter>[/<x>]
//   containerd.io/gc.root                                  this is a root
//
// References never leave a namespace. Source: containerd's core/metadata/gc.go (behaviour). Thread-safe: plain
// data and functions.
#ifndef GANTRY_DAEMON_GC_NODE_H_
#define GANTRY_DAEMON_GC_NODE_H_

#include <compare>
#include <functional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace gantry::gc {

enum class Kind { kContent, kSnapshot, kImage, kContainer, kIngest, kLease };

struct Node {
  Kind kind = Kind::kContent;
  // Reached through a flat lease: of what it refers to, only a snapshot's parents and an image's target count.
  bool flat = false;
  std::string ns;
  std::string key;  // of a snapshot: "<snapshotter>/<key>"

  friend bool operator==(const Node&, const Node&) = default;
  friend auto operator<=>(const Node&, const Node&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const Node& n) {
    return H::combine(std::move(h), static_cast<int>(n.kind), n.flat, n.ns, n.key);
  }
};

// "overlayfs/key" taken apart.
struct SnapshotKey {
  absl::string_view snapshotter;
  absl::string_view key;
};
SnapshotKey SplitSnapshot(absl::string_view key);
Node SnapshotNode(absl::string_view ns, absl::string_view snapshotter, absl::string_view key);

// What one label says.
struct LabelVisitor {
  std::function<void(Node)> reference;  // to this node
  std::function<void(Node)> referrer;   // this node refers to the object that has the label
  std::function<void()> root;
};
void VisitLabel(absl::string_view ns, absl::string_view key, absl::string_view value,
                const LabelVisitor& visitor);

template <typename Labels>
void VisitLabels(absl::string_view ns, const Labels& labels, const LabelVisitor& visitor) {
  for (const auto& [key, value] : labels) VisitLabel(ns, key, value, visitor);
}

// Whether the label containerd.io/gc.expire has passed. What is no RFC 3339 time counts as absent.
template <typename Labels>
bool IsExpired(const Labels& labels, absl::Time now) {
  const auto it = labels.find("containerd.io/gc.expire");
  absl::Time expires;
  return it != labels.end() && absl::ParseTime(absl::RFC3339_full, it->second, &expires, nullptr) &&
         now > expires;
}

}  // namespace gantry::gc

#endif  // GANTRY_DAEMON_GC_NODE_H_
