#include "daemon/metadata/sandboxes.h"

#include "daemon/metadata/namespaces.h"
#include "daemon/metadata/test_database.h"

namespace gantry::metadata {
namespace {

class SandboxesTest : public DatabaseTest {
 protected:
  static Sandbox Example(const std::string& id) {
    Sandbox sandbox;
    sandbox.set_sandbox_id(id);
    sandbox.set_sandboxer("shim");
    sandbox.mutable_runtime()->set_name("io.containerd.gantry.v2");
    sandbox.mutable_spec()->set_type_url("types.containerd.io/opencontainers/runtime-spec/1/Spec");
    sandbox.mutable_spec()->set_value("{}");
    (*sandbox.mutable_labels())["tier"] = id;
    return sandbox;
  }
  Sandboxes sandboxes() { return Sandboxes(database_.get()); }
  std::vector<std::string> Ids(const std::string& filter) {
    std::vector<std::string> ids;
    const auto all = sandboxes().List(ns_, *filters::Filter::Parse(filter));
    for (const Sandbox& sandbox : *all) ids.push_back(sandbox.sandbox_id());
    return ids;
  }
};

TEST_F(SandboxesTest, CreatedRecordIsReadBackAfterReopening) {
  const auto created = sandboxes().Create(ns_, Example("s1"));
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_GT(created->created_at().seconds(), 0);
  Reopen();
  EXPECT_EQ(sandboxes().Get(ns_, "s1")->SerializeAsString(), created->SerializeAsString());
  EXPECT_TRUE(absl::IsNotFound(sandboxes().Get({"other", ""}, "s1").status()));
}

TEST_F(SandboxesTest, IdInUseAndBadRecordsAreRefused) {
  ASSERT_TRUE(sandboxes().Create(ns_, Example("s1")).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(sandboxes().Create(ns_, Example("s1")).status()));
  Sandbox nameless = Example("s2"), long_label = Example("s3");
  (*nameless.mutable_extensions())[""];
  (*long_label.mutable_labels())["k"] = std::string(4096, 'v');
  for (const Sandbox& bad : {nameless, long_label, Example(""), Example("a/b"), Example("..")}) {
    EXPECT_TRUE(absl::IsInvalidArgument(sandboxes().Create(ns_, bad).status())) << bad.sandbox_id();
  }
}

TEST_F(SandboxesTest, FiltersSeeIdAndLabels) {
  for (const char* id : {"b", "a", "c"}) ASSERT_TRUE(sandboxes().Create(ns_, Example(id)).ok());
  EXPECT_EQ(Ids(""), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(Ids("id==b"), (std::vector<std::string>{"b"}));
  EXPECT_EQ(Ids("labels.tier==c"), (std::vector<std::string>{"c"}));
}

TEST_F(SandboxesTest, UpdateChangesWhatIsNamed) {
  ASSERT_TRUE(sandboxes().Create(ns_, Example("s1")).ok());
  Sandbox change = Example("s1");
  (*change.mutable_labels())["tier"] = "new";
  (*change.mutable_labels())["more"] = "x";
  (*change.mutable_extensions())["e"].set_type_url("t");
  const auto one = sandboxes().Update(ns_, change, {"labels.tier", "extensions.e"});
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(one->labels().at("tier"), "new");
  EXPECT_FALSE(one->labels().contains("more"));
  EXPECT_EQ(one->extensions().at("e").type_url(), "t");
  const auto all = sandboxes().Update(ns_, change, {});
  EXPECT_EQ(all->labels().at("more"), "x");
  change.mutable_runtime()->set_name("other");
  EXPECT_TRUE(absl::IsInvalidArgument(sandboxes().Update(ns_, change, {}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(sandboxes().Update(ns_, change, {"sandboxer"}).status()));
  EXPECT_TRUE(absl::IsNotFound(sandboxes().Update(ns_, Example("s9"), {}).status()));
}

TEST_F(SandboxesTest, ANamespaceWithASandboxIsNotEmpty) {
  ASSERT_TRUE(sandboxes().Create(ns_, Example("s1")).ok());
  Namespaces namespaces(database_.get());
  EXPECT_TRUE(absl::IsFailedPrecondition(namespaces.Delete(ns_.ns)));
  ASSERT_TRUE(sandboxes().Delete(ns_, "s1").ok());
  EXPECT_TRUE(absl::IsNotFound(sandboxes().Delete(ns_, "s1")));
  EXPECT_TRUE(namespaces.Delete(ns_.ns).ok());
}

}  // namespace
}  // namespace gantry::metadata
