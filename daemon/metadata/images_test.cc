#include "daemon/metadata/images.h"

#include "daemon/metadata/test_database.h"

namespace gantry::metadata {
namespace {

class ImagesTest : public DatabaseTest {
 protected:
  static Image Example(const std::string& name) {
    Image image;
    image.set_name(name);
    image.mutable_target()->set_media_type("application/vnd.oci.image.manifest.v1+json");
    image.mutable_target()->set_digest(content::Digest::Of(name).ToString());
    image.mutable_target()->set_size(7);
    return image;
  }
  Images images() { return Images(database_.get()); }
};

TEST_F(ImagesTest, NameMayHoldAnything) {
  for (const char* name : {"example.test/a/b:1", "example.test/a", "x y"}) {
    ASSERT_TRUE(images().Create(ns_, Example(name), std::nullopt).ok());
    EXPECT_EQ(images().Get(ns_, name)->name(), name);
    EXPECT_TRUE(absl::IsAlreadyExists(images().Create(ns_, Example(name), std::nullopt).status()));
  }
  EXPECT_EQ(images().List(ns_, *filters::Filter::Parse("name~=\"/a\""))->size(), 2u);
  EXPECT_TRUE(images().List({"other", ""}, Everything())->empty());
}

TEST_F(ImagesTest, BadTargetsAreRefused) {
  Image no_digest = Example("a"), no_size = Example("a"), no_type = Example("a");
  no_digest.mutable_target()->set_digest("sha256:short");
  no_size.mutable_target()->set_size(0);
  no_type.mutable_target()->clear_media_type();
  for (const Image& bad : {no_digest, no_size, no_type, Example("")}) {
    EXPECT_TRUE(absl::IsInvalidArgument(images().Create(ns_, bad, std::nullopt).status()));
  }
}

TEST_F(ImagesTest, UpdateKeepsTheTimeOfCreation) {
  const absl::Time epoch = absl::FromUnixSeconds(1000);
  ASSERT_TRUE(images().Create(ns_, Example("a"), epoch).ok());
  Image change = Example("a");
  change.mutable_target()->set_size(9);
  (*change.mutable_labels())["k"] = "v";
  auto updated = images().Update(ns_, change, {"labels.k"}, std::nullopt);
  ASSERT_TRUE(updated.ok()) << updated.status();
  EXPECT_EQ(updated->target().size(), 7);
  EXPECT_EQ(updated->created_at().seconds(), 1000);
  EXPECT_GT(updated->updated_at().seconds(), 1000);
  EXPECT_EQ(images().Update(ns_, change, {"target"}, epoch)->target().size(), 9);
  EXPECT_TRUE(absl::IsInvalidArgument(images().Update(ns_, change, {"name"}, epoch).status()));
  EXPECT_TRUE(absl::IsNotFound(images().Update(ns_, Example("b"), {}, epoch).status()));
}

TEST_F(ImagesTest, DeleteMayNameTheTarget) {
  ASSERT_TRUE(images().Create(ns_, Example("a"), std::nullopt).ok());
  EXPECT_TRUE(absl::IsNotFound(images().Delete(ns_, "a", content::Digest::Of("x").ToString())));
  EXPECT_TRUE(images().Delete(ns_, "a", Example("a").target().digest()).ok());
  EXPECT_TRUE(absl::IsNotFound(images().Delete(ns_, "a", "")));
}

TEST_F(ImagesTest, OnlyAnExpiringImageNeedsTheLease) {
  MakeLease(ns_, "l");
  const Scope leased = {"default", "l"};
  Image expiring = Example("b");
  (*expiring.mutable_labels())[std::string(kExpireLabel)] = "2030-01-01T00:00:00Z";
  ASSERT_TRUE(images().Create(leased, Example("a"), std::nullopt).ok());
  ASSERT_TRUE(images().Create(leased, expiring, std::nullopt).ok());
  EXPECT_EQ(Resources(ns_, "l"), (std::vector<std::string>{"images b"}));
}

}  // namespace
}  // namespace gantry::metadata
