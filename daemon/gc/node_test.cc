#include "daemon/gc/node.h"

#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <string>

namespace gantry::gc {
namespace {

std::optional<Node> Reference(const std::string& key, const std::string& value) {
  std::optional<Node> found;
  VisitLabel("ns", key, value, {[&](Node node) { found = std::move(node); }, nullptr, nullptr});
  return found;
}

TEST(NodeTest, ReferenceLabels) {
  const Node content{Kind::kContent, false, "ns", "d"};
  EXPECT_EQ(Reference("containerd.io/gc.ref.content", "d"), content);
  EXPECT_EQ(Reference("containerd.io/gc.ref.content.12", "d"), content);
  EXPECT_EQ(Reference("containerd.io/gc.ref.content.l/x.y", "d"), content);
  EXPECT_EQ(Reference("containerd.io/gc.ref.image/one", "i"), (Node{Kind::kImage, false, "ns", "i"}));
  EXPECT_EQ(Reference("containerd.io/gc.ref.snapshot.overlayfs", "sha256:x"),
            SnapshotNode("ns", "overlayfs", "sha256:x"));
  EXPECT_EQ(Reference("containerd.io/gc.ref.snapshot.overlayfs/1", "k"),
            SnapshotNode("ns", "overlayfs", "k"));
  for (const char* other :
       {"containerd.io/gc.ref.contents", "containerd.io/gc.ref.", "containerd.io/gc.ref.container",
        "containerd.io/gc.root", "gc.ref.content", "containerd.io/gc.bref.content", "x"}) {
    EXPECT_FALSE(Reference(other, "d").has_value()) << other;
  }
}

TEST(NodeTest, BackwardReferencesAndRoots) {
  std::optional<Node> referrer;
  bool root = false;
  const LabelVisitor visitor = {nullptr, [&](Node node) { referrer = std::move(node); },
                                [&] { root = true; }};
  VisitLabel("ns", "containerd.io/gc.bref.container.x", "c1", visitor);
  EXPECT_EQ(referrer, (Node{Kind::kContainer, false, "ns", "c1"}));
  EXPECT_FALSE(root);
  VisitLabel("ns", "containerd.io/gc.root", "now", visitor);
  EXPECT_TRUE(root);
}

TEST(NodeTest, Expiry) {
  const absl::Time now = absl::FromUnixSeconds(1000000000);  // 2001-09-09T01:46:40Z
  using Labels = std::map<std::string, std::string>;
  EXPECT_FALSE(IsExpired(Labels{}, now));
  EXPECT_TRUE(IsExpired(Labels{{"containerd.io/gc.expire", "2001-09-09T01:46:39Z"}}, now));
  EXPECT_FALSE(IsExpired(Labels{{"containerd.io/gc.expire", "2001-09-09T01:46:41.5Z"}}, now));
  EXPECT_TRUE(IsExpired(Labels{{"containerd.io/gc.expire", "2001-09-09T03:46:39+02:00"}}, now));
  EXPECT_FALSE(IsExpired(Labels{{"containerd.io/gc.expire", "yesterday"}}, now));
}

}  // namespace
}  // namespace gantry::gc
