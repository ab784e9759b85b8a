#include "daemon/gc/node.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace gantry::gc {
namespace {

// Takes "<name>" off `key`, if it ends there or goes on with '.' or '/' (whatever follows only tells several
// references apart).
bool Names(absl::string_view key, absl::string_view name) {
  return absl::ConsumePrefix(&key, name) && (key.empty() || key[0] == '.' || key[0] == '/');
}

// The node that "content", "image.x", "snapshot.overlayfs/x", ... and `value` name.
bool Parse(absl::string_view ns, absl::string_view what, absl::string_view value, Node* node) {
  node->ns = std::string(ns);
  node->key = std::string(value);
  if (Names(what, "content")) {
    node->kind = Kind::kContent;
  } else if (Names(what, "image")) {
    node->kind = Kind::kImage;
  } else if (Names(what, "container")) {
    node->kind = Kind::kContainer;
  } else if (absl::ConsumePrefix(&what, "snapshot.")) {
    *node = SnapshotNode(ns, what.substr(0, what.find('/')), value);
  } else {
    return false;
  }
  return true;
}

}  // namespace

SnapshotKey SplitSnapshot(absl::string_view key) {
  const size_t slash = key.find('/');
  if (slash == absl::string_view::npos) return {key, {}};
  return {key.substr(0, slash), key.substr(slash + 1)};
}

Node SnapshotNode(absl::string_view ns, absl::string_view snapshotter, absl::string_view key) {
  return {Kind::kSnapshot, false, std::string(ns), absl::StrCat(snapshotter, "/", key)};
}

void VisitLabel(absl::string_view ns, absl::string_view key, absl::string_view value,
                const LabelVisitor& visitor) {
  if (!absl::ConsumePrefix(&key, "containerd.io/gc.")) return;
  Node node;
  if (key == "root") {
    if (visitor.root) visitor.root();
  } else if (absl::ConsumePrefix(&key, "ref.")) {
    if (visitor.reference && Parse(ns, key, value, &node) && node.kind != Kind::kContainer) {
      visitor.reference(std::move(node));
    }
  } else if (absl::ConsumePrefix(&key, "bref.")) {
    if (visitor.referrer && Parse(ns, key, value, &node)) visitor.referrer(std::move(node));
  }
}

}  // namespace gantry::gc
