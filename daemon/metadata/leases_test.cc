#include "daemon/metadata/leases.h"

#include "daemon/metadata/schema.h"
#include "daemon/metadata/test_database.h"

namespace gantry::metadata {
namespace {

class LeasesTest : public DatabaseTest {
 protected:
  Leases leases() { return Leases(database_.get()); }
};

TEST_F(LeasesTest, CreateListDelete) {
  MakeLease(ns_, "a", {});
  MakeLease(ns_, "with/slash");
  Lease again;
  again.set_id("a");
  EXPECT_TRUE(absl::IsAlreadyExists(leases().Create(ns_, again).status()));
  again.set_id(std::string(2000, 'x'));
  EXPECT_TRUE(absl::IsInvalidArgument(leases().Create(ns_, again).status()));
  EXPECT_EQ(leases().List(ns_, Everything())->size(), 2u);
  EXPECT_EQ((*leases().List(ns_, *filters::Filter::Parse("id==with/slash")))[0].id(), "with/slash");
  EXPECT_TRUE(leases().Delete(ns_, "a").ok());
  EXPECT_TRUE(absl::IsNotFound(leases().Delete(ns_, "a")));
}

TEST_F(LeasesTest, WithoutAnIdEachGetsItsOwn) {
  const auto one = leases().Create(ns_, {}), two = leases().Create(ns_, {});
  ASSERT_TRUE(one.ok() && two.ok());
  EXPECT_FALSE(one->id().empty());
  EXPECT_NE(one->id(), two->id());
  EXPECT_EQ(leases().List(ns_, Everything())->size(), 2u);
}

TEST_F(LeasesTest, ResourcesComeAndGo) {
  MakeLease(ns_, "a");
  MakeLease(ns_, "a/b");
  const std::string digest = content::Digest::Of("x").ToString();
  ASSERT_TRUE(leases().AddResource(ns_, "a", MakeResource("content", digest)).ok());
  ASSERT_TRUE(leases().AddResource(ns_, "a", MakeResource("snapshots/overlayfs", "sha256:k/x:y")).ok());
  ASSERT_TRUE(leases().AddResource(ns_, "a/b", MakeResource("ingests", "r")).ok());
  EXPECT_EQ(Resources(ns_, "a"),
            (std::vector<std::string>{"content " + digest, "snapshots/overlayfs sha256:k/x:y"}));
  ASSERT_TRUE(leases().DeleteResource(ns_, "a", MakeResource("content", digest)).ok());
  EXPECT_EQ(Resources(ns_, "a").size(), 1u);
  ASSERT_TRUE(leases().Delete(ns_, "a").ok());
  EXPECT_TRUE(absl::IsNotFound(leases().ListResources(ns_, "a").status()));
  EXPECT_EQ(Resources(ns_, "a/b").size(), 1u);
  EXPECT_FALSE(database_->records()->Scan(kLeasesFamily, ResourcesPrefix("default", "a"))->Valid());
}

TEST_F(LeasesTest, BadResourcesAreRefused) {
  MakeLease(ns_, "a");
  for (const Resource& bad :
       {MakeResource("content", "no digest"), MakeResource("content/x", "y"), MakeResource("snapshots", "y"),
        MakeResource("snapshots/", "y"), MakeResource("snapshots/a/b", "y"), MakeResource("ingests", "")}) {
    EXPECT_TRUE(absl::IsInvalidArgument(leases().AddResource(ns_, "a", bad))) << bad.type();
  }
  EXPECT_TRUE(absl::IsUnimplemented(leases().AddResource(ns_, "a", MakeResource("what", "y"))));
  EXPECT_TRUE(absl::IsNotFound(leases().AddResource(ns_, "b", MakeResource("images", "y"))));
}

TEST_F(LeasesTest, UnknownLeaseOfACallIsNotFoundAndNothingIsMade) {
  const Scope leased = {"default", "never"};
  auto writer = content_->OpenWriter(leased, {.ref = "r"});
  EXPECT_TRUE(absl::IsNotFound(writer.status())) << writer.status();
  EXPECT_TRUE(content_->ListStatuses(ns_, Everything())->empty());
}

}  // namespace
}  // namespace gantry::metadata
