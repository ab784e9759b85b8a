#include "daemon/metadata/containers.h"

#include "daemon/metadata/test_database.h"

namespace gantry::metadata {
namespace {

class ContainersTest : public DatabaseTest {
 protected:
  static Container Example(const std::string& id) {
    Container container;
    container.set_id(id);
    container.set_image("example.test/image:1");
    container.mutable_runtime()->set_name("io.containerd.gantry.v2");
    container.mutable_spec()->set_type_url("types.containerd.io/opencontainers/runtime-spec/1/Spec");
    container.mutable_spec()->set_value("{}");
    container.set_snapshotter("overlayfs");
    container.set_snapshot_key(id);
    (*container.mutable_labels())["tier"] = id;
    return container;
  }
  Containers containers() { return Containers(database_.get()); }
  std::vector<std::string> Ids(const std::string& filter) {
    std::vector<std::string> ids;
    const auto all = containers().List(ns_, *filters::Filter::Parse(filter));
    for (const Container& c : *all) ids.push_back(c.id());
    return ids;
  }
};

TEST_F(ContainersTest, CreatedRecordIsReadBackAfterReopening) {
  Container container = Example("c1");
  (*container.mutable_labels())["empty"] = "";
  auto created = containers().Create(ns_, container);
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_GT(created->created_at().seconds(), 0);
  EXPECT_FALSE(created->labels().contains("empty"));
  Reopen();
  EXPECT_EQ(containers().Get(ns_, "c1")->SerializeAsString(), created->SerializeAsString());
  EXPECT_TRUE(absl::IsNotFound(containers().Get({"other", ""}, "c1").status()));
}

TEST_F(ContainersTest, IdInUseIsRefused) {
  ASSERT_TRUE(containers().Create(ns_, Example("c1")).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(containers().Create(ns_, Example("c1")).status()));
  EXPECT_TRUE(containers().Create({"other", ""}, Example("c1")).ok());
}

TEST_F(ContainersTest, BadRecordsAreRefused) {
  Container no_spec = Example("a"), no_runtime = Example("b"), no_snapshotter = Example("c"),
            long_label = Example("d");
  no_spec.clear_spec();
  no_runtime.mutable_runtime()->clear_name();
  no_snapshotter.clear_snapshotter();
  (*long_label.mutable_labels())["k"] = std::string(4096, 'v');
  for (const Container& bad : {no_spec, no_runtime, no_snapshotter, long_label, Example("a/b"), Example(""),
                               Example("-x"), Example("a..b"), Example(std::string(77, 'x'))}) {
    EXPECT_TRUE(absl::IsInvalidArgument(containers().Create(ns_, bad).status())) << bad.id();
  }
  EXPECT_TRUE(Ids("").empty());
}

TEST_F(ContainersTest, FiltersAndPagesFollowTheIds) {
  for (const char* id : {"c3", "c1", "c2", "c4"}) ASSERT_TRUE(containers().Create(ns_, Example(id)).ok());
  EXPECT_EQ(Ids(""), (std::vector<std::string>{"c1", "c2", "c3", "c4"}));
  EXPECT_EQ(Ids("labels.tier==c2"), (std::vector<std::string>{"c2"}));
  EXPECT_EQ(Ids("id~=[13]"), (std::vector<std::string>{"c1", "c3"}));
  EXPECT_TRUE(Ids("runtime.name==no.such").empty());
  std::string position;
  EXPECT_EQ(containers().ListSome(ns_, Everything(), 3, &position)->size(), 3u);
  EXPECT_EQ((*containers().ListSome(ns_, Everything(), 3, &position))[0].id(), "c4");
  EXPECT_TRUE(position.empty());
}

TEST_F(ContainersTest, UpdateFollowsTheFieldMask) {
  ASSERT_TRUE(containers().Create(ns_, Example("c1")).ok());
  Container change = Example("c1");
  (*change.mutable_labels())["new"] = "1";
  change.set_image("other");
  auto updated = containers().Update(ns_, change, {"labels.new", "labels.tier", "labels.none"});
  ASSERT_TRUE(updated.ok()) << updated.status();
  EXPECT_EQ(updated->labels().size(), 2u);
  EXPECT_EQ(updated->image(), "example.test/image:1");
  (*change.mutable_labels())["tier"] = "";
  EXPECT_EQ(containers().Update(ns_, change, {"labels.tier"})->labels().size(), 1u);
  EXPECT_EQ(containers().Update(ns_, change, {})->image(), "other");
  EXPECT_TRUE(absl::IsInvalidArgument(containers().Update(ns_, change, {"id"}).status()));
  EXPECT_TRUE(absl::IsNotFound(containers().Update(ns_, Example("none"), {}).status()));
  change.mutable_runtime()->set_name("another");
  EXPECT_TRUE(absl::IsInvalidArgument(containers().Update(ns_, change, {}).status()));
}

TEST_F(ContainersTest, DeleteIsFinal) {
  ASSERT_TRUE(containers().Create(ns_, Example("c1")).ok());
  ASSERT_TRUE(containers().Delete(ns_, "c1").ok());
  EXPECT_TRUE(absl::IsNotFound(containers().Delete(ns_, "c1")));
  Reopen();
  EXPECT_TRUE(absl::IsNotFound(containers().Get(ns_, "c1").status()));
}

}  // namespace
}  // namespace gantry::metadata
