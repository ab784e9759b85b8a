#include "daemon/metadata/namespaces.h"

#include "daemon/metadata/test_database.h"

namespace gantry::metadata {
namespace {

class NamespacesTest : public DatabaseTest {
 protected:
  Namespaces namespaces() {
    return Namespaces(database_.get(), [this](absl::string_view) { return others_; });
  }
  static Namespace Example(const std::string& name, const Labels& labels = {}) {
    Namespace ns;
    ns.set_name(name);
    *ns.mutable_labels() = labels;
    return ns;
  }
  static Labels OneLabel(const std::string& key, const std::string& value) {
    Labels labels;
    labels[key] = value;
    return labels;
  }
  std::vector<std::string> others_;
};

TEST_F(NamespacesTest, CreateOnceWithAGoodName) {
  ASSERT_TRUE(namespaces().Create(Example("a", OneLabel("k", "v"))).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(namespaces().Create(Example("a")).status()));
  for (const std::string& bad : {std::string(""), std::string("a/b"), std::string("_x"), std::string("x-"),
                                 std::string("a..b"), std::string(80, 'x')}) {
    EXPECT_TRUE(absl::IsInvalidArgument(namespaces().Create(Example(bad)).status())) << bad;
  }
  EXPECT_EQ(namespaces().Get("a")->labels().at("k"), "v");
  EXPECT_TRUE(namespaces().Get("never")->labels().empty());
}

TEST_F(NamespacesTest, FirstObjectMakesItAndKeepsLabelsThatAreThere) {
  Put({"implied", ""}, "x");
  ASSERT_TRUE(namespaces().Create(Example("explicit", OneLabel("k", "v"))).ok());
  Put({"explicit", ""}, "x");
  auto list = namespaces().List();
  ASSERT_EQ(list->size(), 2u);
  EXPECT_EQ((*list)[0].name(), "explicit");
  EXPECT_EQ((*list)[0].labels().at("k"), "v");
}

TEST_F(NamespacesTest, LabelsAreSetChangedAndCleared) {
  ASSERT_TRUE(namespaces().Create(Example("a", OneLabel("k", "v"))).ok());
  EXPECT_EQ(namespaces().Update(Example("a", OneLabel("n", "1")), {"labels.n"})->labels().size(), 2u);
  EXPECT_EQ(namespaces().Update(Example("a"), {"labels.k"})->labels().size(), 1u);
  EXPECT_EQ(namespaces().Update(Example("a", OneLabel("z", "9")), {})->labels().size(), 1u);
  EXPECT_TRUE(absl::IsInvalidArgument(namespaces().Update(Example("a"), {"name"}).status()));
}

TEST_F(NamespacesTest, OnlyAnEmptyOneIsDeleted) {
  const Scope scope = {"a", ""};
  const content::Digest digest = Put(scope, "x");
  MakeLease(scope, "l");
  others_ = {"snapshots on \"overlayfs\" snapshotter"};
  absl::Status status = namespaces().Delete("a");
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_NE(status.message().find("must be empty, but it still has blobs, snapshots on"),
            absl::string_view::npos)
      << status;
  others_.clear();
  ASSERT_TRUE(content_->Delete(scope, digest).ok());
  EXPECT_TRUE(namespaces().Delete("a").ok());
  EXPECT_TRUE(absl::IsNotFound(namespaces().Delete("a")));
  EXPECT_TRUE(Leases(database_.get()).List(scope, Everything())->empty());
  Put(scope, "again");
  EXPECT_EQ(namespaces().List()->size(), 1u);
}

}  // namespace
}  // namespace gantry::metadata
