#include "snapshotter/snapshotter.h"

#include <gtest/gtest.h>

#include "snapshotter/native/native.h"
#include "snapshotter/overlay/overlay.h"
#include "snapshotter/snapshotter_suite.h"

namespace gantry::snapshotter {
namespace {

INSTANTIATE_TEST_SUITE_P(Overlay, SnapshotterSuite,
                         testing::Values(SuiteOptions{
                             "overlayfs", [](const std::string& root, kv::Database* db) {
                               return OpenOverlaySnapshotter({.root = root, .db = db, .sync_commits = false});
                             }}));

INSTANTIATE_TEST_SUITE_P(Native, SnapshotterSuite,
                         testing::Values(SuiteOptions{
                             "native", [](const std::string& root, kv::Database* db) {
                               return OpenNativeSnapshotter({.root = root, .db = db, .sync_commits = false});
                             }}));

TEST(ScopedKeyTest, JoinsAndSplits) {
  EXPECT_EQ(ScopedKey("ns", "sha256:1/2"), "ns/sha256:1/2");
  EXPECT_EQ(ScopedKey("ns", ""), "");
  absl::string_view ns, key;
  ASSERT_TRUE(SplitScopedKey("ns/a/b", &ns, &key));
  EXPECT_EQ(ns, "ns");
  EXPECT_EQ(key, "a/b");
  EXPECT_FALSE(SplitScopedKey("none", &ns, &key));
  EXPECT_FALSE(SplitScopedKey("/x", &ns, &key));
}

TEST(RecordTest, SurvivesEncodingAndDamageIsFound) {
  Record record;
  record.id = 1234567890123;
  record.info.name = "name";
  record.info.kind = Kind::kCommitted;
  record.info.parent = "parent";
  record.info.labels = {{"a", "b"}, {"", "x"}, {"long", std::string(1000, 'y')}};
  record.info.created = absl::FromUnixNanos(1'700'000'000'123'456'789);
  record.info.updated = absl::FromUnixNanos(-5);
  record.usage = {1 << 20, 7};
  record.parents = {5, 4, 1};
  const std::string bytes = EncodeRecord(record);
  const auto back = DecodeRecord("name", bytes);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(EncodeRecord(*back), bytes);
  EXPECT_EQ(back->info.labels, record.info.labels);
  EXPECT_EQ(back->parents, record.parents);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(DecodeRecord("name", bytes.substr(0, size)).status().code(), absl::StatusCode::kDataLoss)
        << size;
  }
  EXPECT_FALSE(DecodeRecord("name", bytes + "x").ok());
}

TEST(OverlayTest, RootsThatMountOptionsCannotExpressAreRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(OpenOverlaySnapshotter({.root = "/tmp/a:b"}).status()));
}

TEST(OverlayTest, FileSystemsWithoutOverlayAreAClearError) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const auto opened = OpenOverlaySnapshotter({.root = "/proc/gantry"});
  EXPECT_FALSE(opened.ok());
}

}  // namespace
}  // namespace gantry::snapshotter
