#include "snapshotter/snapshotter.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

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

class OverlayDirectoryTest : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "snapshots need root";
    char path[] = "/tmp/gantry-overlay-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    dir_ = path;
    root_ = dir_ + "/root";
    auto db = kv::Database::Open({.path = dir_ + "/db", .families = {"snapshots"}});
    ASSERT_TRUE(db.ok()) << db.status();
    db_ = *std::move(db);
    if (absl::IsFailedPrecondition(Open({}).status())) GTEST_SKIP() << "no overlayfs here";
  }
  void TearDown() override {
    db_.reset();
    if (!dir_.empty()) {
      EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, dir_).ok());
    }
  }
  absl::StatusOr<std::unique_ptr<Snapshotter>> Open(OverlayOptions options) {
    options.root = root_;
    options.db = db_.get();
    options.sync_commits = false;
    return OpenOverlaySnapshotter(std::move(options));
  }

  std::string dir_;
  std::string root_;
  std::unique_ptr<kv::Database> db_;
};

TEST(OverlayTest, RootsThatMountOptionsCannotExpressAreRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(OpenOverlaySnapshotter({.root = "/tmp/a:b"}).status()));
}

TEST(OverlayTest, FileSystemsWithoutOverlayAreAClearError) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const auto opened = OpenOverlaySnapshotter({.root = "/proc/gantry"});
  EXPECT_FALSE(opened.ok());
}

TEST_F(OverlayDirectoryTest, MountsAreContainerds) {
  const auto layer = Open({});
  ASSERT_TRUE(layer.ok()) << layer.status();
  const std::string dirs = root_ + "/snapshots/";
  Snapshotter& s = **layer;
  EXPECT_THAT(s.Prepare("k1", "", {})->front().options, testing::ElementsAre("rw", "rbind"));
  ASSERT_TRUE(s.Commit("one", "k1", {}).ok());
  const Mount view = s.View("v1", "one", {})->front();
  EXPECT_EQ(view.type, "bind");
  EXPECT_EQ(view.source, dirs + "1/fs");
  EXPECT_THAT(view.options, testing::ElementsAre("ro", "rbind"));
  const Mount active = s.Prepare("k2", "one", {})->front();
  EXPECT_EQ(active.type, "overlay");
  ASSERT_GE(active.options.size(), 3u);
  EXPECT_EQ(active.options[0], "workdir=" + dirs + "3/work");
  EXPECT_EQ(active.options[1], "upperdir=" + dirs + "3/fs");
  EXPECT_EQ(active.options[2], "lowerdir=" + dirs + "1/fs");
  ASSERT_TRUE(s.Commit("two", "k2", {}).ok());
  const Mount deep = s.View("v2", "two", {})->front();
  EXPECT_EQ(deep.options[0], "lowerdir=" + dirs + "3/fs:" + dirs + "1/fs");
}

TEST_F(OverlayDirectoryTest, IdMappingsMakeTheRootsOwner) {
  const auto opened = Open({.remap_ids = true});
  ASSERT_TRUE(opened.ok()) << opened.status();
  const std::string uid(kLabelUidMapping), gid(kLabelGidMapping);
  const auto mounts =
      (*opened)->Prepare("a", "", {.labels = {{uid, "0:5000:100"}, {gid, "1000:1:1,0:6000:100"}}});
  ASSERT_TRUE(mounts.ok()) << mounts.status();
  struct stat st;
  ASSERT_EQ(::stat(mounts->front().source.c_str(), &st), 0);
  EXPECT_EQ(st.st_uid, 5000u);
  EXPECT_EQ(st.st_gid, 6000u);
  EXPECT_EQ(mounts->front().options[0], "uidmap=0:5000:100");
  for (const std::string bad : {"", "0:1", "1:1:1", "x:y:z"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(
        (*opened)->Prepare("b", "", {.labels = {{uid, bad}, {gid, "0:1:1"}}}).status()))
        << bad;
  }
}

TEST_F(OverlayDirectoryTest, UpperdirLabelIsToldAndNotStored) {
  {
    const auto opened = Open({.upperdir_label = true});
    ASSERT_TRUE(opened.ok()) << opened.status();
    ASSERT_TRUE((*opened)->Prepare("a", "", {}).ok());
    EXPECT_EQ((*opened)->Stat("a")->labels[kLabelUpperdir], root_ + "/snapshots/1/fs");
  }
  EXPECT_TRUE((*Open({}))->Stat("a")->labels.empty());
}

}  // namespace

TEST_P(SnapshotterSuite, RacingCallsLeaveOneWinnerAndNoOrphans) {
  Layer("base", "", "f");
  for (int round = 0; round < 20; ++round) {
    std::vector<std::thread> threads;
    std::atomic<int> prepared{0}, removed{0};
    for (int i = 0; i < 3; ++i) {
      threads.emplace_back([&] { prepared += s().Prepare("same", "base", {}).ok() ? 1 : 0; });
    }
    threads.emplace_back([&] { removed += s().Remove("base").ok() ? 1 : 0; });
    for (std::thread& thread : threads) thread.join();
    if (removed == 1) {
      ASSERT_EQ(prepared, 0);
      Layer("base", "", "f");
    } else {
      ASSERT_EQ(prepared, 1);
      ASSERT_EQ(s().Stat("same")->parent, "base");
      ASSERT_TRUE(s().Remove("same").ok());
    }
  }
  ASSERT_TRUE(s().Remove("base").ok());
  EXPECT_THAT(Names(), testing::IsEmpty());
}

}  // namespace gantry::snapshotter
