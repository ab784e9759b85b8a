#include "daemon/metadata/schema.h"

#include "daemon/metadata/test_database.h"

namespace gantry::metadata {
namespace {

using SchemaTest = DatabaseTest;

TEST(SchemaKeysTest, KeysAreTakenApartAsTheyWereBuilt) {
  const std::string key = ImageKey("ns", "example.test/a/b:1");
  EXPECT_EQ(SplitKey(key).kind, "image");
  EXPECT_EQ(SplitKey(key).ns, "ns");
  EXPECT_EQ(SplitKey(key).rest, "example.test/a/b:1");
  EXPECT_EQ(SplitKey(NamespaceKey("ns")).ns, "ns");
  EXPECT_EQ(SplitResource("snapshots/overlayfs:sha256:x").type, "snapshots/overlayfs");
  EXPECT_EQ(SplitResource("snapshots/overlayfs:sha256:x").id, "sha256:x");
  EXPECT_NE(LeaseKey("ns", "a/b"), LeaseKey("ns", "a%2Fb"));
}

TEST_F(SchemaTest, VersionIsWrittenAndANewerOneIsRefused) {
  EXPECT_EQ(*database_->records()->Get(kMetaFamily, "version"), "1");
  kv::WriteBatch batch;
  batch.Put(kMetaFamily, "version", "2");
  ASSERT_TRUE(database_->records()->Write(batch, kv::Durability::kSynced).ok());
  Close();
  const absl::Status newer = Database::Open(dir_ + "/metadata").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(newer)) << newer;
}

TEST_F(SchemaTest, DamagedRecordIsNamed) {
  kv::WriteBatch batch;
  batch.Put(kContentFamily, BlobKey("default", content::Digest::Of("x").ToString()), "\xff\xff");
  ASSERT_TRUE(database_->records()->Write(batch, kv::Durability::kSynced).ok());
  const absl::Status damaged = content_->Info(ns_, content::Digest::Of("x")).status();
  EXPECT_TRUE(absl::IsDataLoss(damaged)) << damaged;
  EXPECT_NE(damaged.message().find("blob/default/sha256:"), absl::string_view::npos);
}

}  // namespace
}  // namespace gantry::metadata
