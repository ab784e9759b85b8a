// The conformance suite: what every Snapshotter must do. Each implementation's test instantiates it:
//
//   INSTANTIATE_TEST_SUITE_P(Overlay, SnapshotterSuite, testing::Values(SuiteOptions{"overlayfs", OpenOverlay}));
//
// The trees are looked at through detached mounts (fsopen, open_tree), which no mount table ever shows and which go
// with their descriptor. Needs root, skips without.
#ifndef GANTRY_SNAPSHOTTER_SNAPSHOTTER_SUITE_H_
#define GANTRY_SNAPSHOTTER_SNAPSHOTTER_SUITE_H_

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "content/kv/kv.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"
#include "snapshotter/snapshotter.h"

namespace gantry::snapshotter {

struct SuiteOptions {
  std::string name;
  std::function<absl::StatusOr<std::unique_ptr<Snapshotter>>(const std::string& root, kv::Database* db)> open;
  bool remote = false;  // over the wire: it takes no companions, and has records of its own
};

// A detached mount of what a snapshotter returned, as a descriptor of its root.
inline absl::StatusOr<sys::UniqueFd> MountDetached(const Mount& mount) {
  if (mount.type == "bind") {
    sys::UniqueFd tree(static_cast<int>(
        ::syscall(SYS_open_tree, AT_FDCWD, mount.source.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)));
    if (!tree.valid()) return sys::ErrnoStatus("open_tree", mount.source);
    struct mount_attr attr = {};
    if (mount.options[0] == "ro") attr.attr_set = MOUNT_ATTR_RDONLY;
    if (::syscall(SYS_mount_setattr, tree.get(), "", AT_EMPTY_PATH, &attr, sizeof attr) != 0) {
      return sys::ErrnoStatus("mount_setattr", mount.source);
    }
    return tree;
  }
  sys::UniqueFd context(static_cast<int>(::syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC)));
  if (!context.valid()) return sys::ErrnoStatus("fsopen", "overlay");
  for (const std::string& option : mount.options) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(option, absl::MaxSplits('=', 1));
    std::vector<std::string> values = {parts.second};
    if (parts.first == "lowerdir") values = absl::StrSplit(parts.second, ':');
    for (const std::string& value : values) {
      const std::string key = parts.first == "lowerdir" ? "lowerdir+" : parts.first;
      if (::syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_STRING, key.c_str(), value.c_str(), 0) != 0) {
        return sys::ErrnoStatus("fsconfig", option);
      }
    }
  }
  if (::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return sys::ErrnoStatus("fsconfig", "create");
  }
  sys::UniqueFd root(static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, 0)));
  if (!root.valid()) return sys::ErrnoStatus("fsmount", "overlay");
  return root;
}

class SnapshotterSuite : public testing::TestWithParam<SuiteOptions> {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "snapshots need root";
    char path[] = "/tmp/gantry-snapshotter-XXXXXX";
    ASSERT_NE(::mkdtemp(path), nullptr);
    dir_ = path;
    auto db = kv::Database::Open({.path = dir_ + "/db", .families = {"snapshots", "other"}});
    ASSERT_TRUE(db.ok()) << db.status();
    db_ = *std::move(db);
    Reopen();
  }

  void TearDown() override {
    if (dir_.empty()) return;
    snapshotter_.reset();
    db_.reset();
    EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, dir_).ok());
  }

  void Reopen() {
    snapshotter_.reset();
    auto opened = GetParam().open(dir_ + "/root", db_.get());
    if (absl::IsFailedPrecondition(opened.status())) GTEST_SKIP() << opened.status();
    ASSERT_TRUE(opened.ok()) << opened.status();
    snapshotter_ = *std::move(opened);
  }

  Snapshotter& s() { return *snapshotter_; }

  void Prepare(const std::string& key, const std::string& parent = "") {
    const auto mounts = s().Prepare(key, parent, {});
    ASSERT_TRUE(mounts.ok()) << mounts.status();
  }
  void Commit(const std::string& name, const std::string& key) {
    const absl::Status status = s().Commit(name, key, {});
    ASSERT_TRUE(status.ok()) << status;
  }

  sys::UniqueFd Root(const std::string& key) {
    const auto mounts = s().Mounts(key);
    EXPECT_TRUE(mounts.ok()) << mounts.status();
    if (!mounts.ok() || mounts->size() != 1) return sys::UniqueFd();
    auto root = MountDetached(mounts->front());
    EXPECT_TRUE(root.ok()) << root.status();
    return root.ok() ? *std::move(root) : sys::UniqueFd();
  }
  void WriteFile(const std::string& key, const std::string& path, const std::string& content) {
    const sys::UniqueFd root = Root(key);
    const auto file = sys::OpenAt(root.get(), path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ASSERT_TRUE(file.ok()) << file.status();
    ASSERT_TRUE(sys::WriteAll(file->get(), content).ok());
  }
  // "(none)" if it is not there.
  std::string ReadFile(const std::string& key, const std::string& path) {
    const sys::UniqueFd root = Root(key);
    const auto content = sys::ReadFileAt(root.get(), path, 1 << 20);
    return content.ok() ? *content : "(none)";
  }
  void Delete(const std::string& key, const std::string& path) {
    const sys::UniqueFd root = Root(key);
    ASSERT_EQ(::unlinkat(root.get(), path.c_str(), 0), 0);
  }
  // A committed snapshot with one file.
  void Layer(const std::string& name, const std::string& parent, const std::string& file) {
    Prepare(name + "-key", parent);
    WriteFile(name + "-key", file, "of " + name);
    Commit(name, name + "-key");
  }
  std::vector<std::string> Names(const std::string& prefix = "") {
    std::vector<std::string> names;
    EXPECT_TRUE(s().Walk(prefix,
                         [&names](const Info& info) {
                           names.push_back(info.name);
                           return absl::OkStatus();
                         })
                    .ok());
    return names;
  }

  std::string dir_;
  std::unique_ptr<kv::Database> db_;
  std::unique_ptr<Snapshotter> snapshotter_;
};

TEST_P(SnapshotterSuite, ActiveStartsEmptyAndOwnedByRoot) {
  Prepare("a");
  struct stat st;
  const sys::UniqueFd root = Root("a");
  ASSERT_EQ(::fstat(root.get(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0755u);
  EXPECT_EQ(st.st_uid, 0u);
}

TEST_P(SnapshotterSuite, ChildShowsItsAncestorsAndLeavesThemUnchanged) {
  Layer("one", "", "first");
  Layer("two", "one", "second");
  Prepare("a", "two");
  Prepare("b", "two");
  EXPECT_EQ(ReadFile("a", "first"), "of one");
  EXPECT_EQ(ReadFile("a", "second"), "of two");
  WriteFile("a", "first", "changed");
  Delete("a", "second");
  EXPECT_EQ(ReadFile("a", "first"), "changed");
  EXPECT_EQ(ReadFile("a", "second"), "(none)");
  EXPECT_EQ(ReadFile("b", "first"), "of one");
  EXPECT_EQ(ReadFile("b", "second"), "of two");
  Commit("three", "a");
  Prepare("c", "three");
  EXPECT_EQ(ReadFile("c", "first"), "changed");
  EXPECT_EQ(ReadFile("c", "second"), "(none)");
}

TEST_P(SnapshotterSuite, ViewIsReadOnly) {
  Layer("one", "", "first");
  Layer("two", "one", "second");
  for (const std::string parent : {"", "one", "two"}) {
    const std::string key = "view-of-" + parent;
    ASSERT_TRUE(s().View(key, parent, {}).ok());
    const sys::UniqueFd root = Root(key);
    EXPECT_LT(::openat(root.get(), "new", O_WRONLY | O_CREAT, 0644), 0);
    EXPECT_EQ(errno, EROFS);
    EXPECT_EQ(ReadFile(key, "first"), parent.empty() ? "(none)" : "of one");
    EXPECT_TRUE(absl::IsFailedPrecondition(s().Commit("x", key, {})));
    EXPECT_EQ(s().Stat(key)->kind, Kind::kView);
  }
}

TEST_P(SnapshotterSuite, StatTellsKindParentLabelsAndTimes) {
  ASSERT_TRUE(s().Prepare("a", "", {.labels = {{"x", "1"}}}).ok());
  auto info = s().Stat("a");
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->kind, Kind::kActive);
  EXPECT_EQ(info->name, "a");
  EXPECT_EQ(info->parent, "");
  EXPECT_EQ(info->labels, (Labels{{"x", "1"}}));
  EXPECT_GT(info->created, absl::UnixEpoch());
  ASSERT_TRUE(s().Commit("one", "a", {.labels = {{"y", "2"}}}).ok());
  info = s().Stat("one");
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->kind, Kind::kCommitted);
  EXPECT_EQ(info->labels, (Labels{{"y", "2"}}));
  EXPECT_TRUE(absl::IsNotFound(s().Stat("a").status()));
  Prepare("b", "one");
  EXPECT_EQ(s().Stat("b")->parent, "one");
}

TEST_P(SnapshotterSuite, KeysAndNamesShareOneSpace) {
  Layer("one", "", "f");
  Prepare("a", "one");
  EXPECT_TRUE(absl::IsAlreadyExists(s().Prepare("a", "one", {}).status()));
  EXPECT_TRUE(absl::IsAlreadyExists(s().View("a", "", {}).status()));
  EXPECT_TRUE(absl::IsAlreadyExists(s().Prepare("one", "", {}).status()));
  EXPECT_TRUE(absl::IsAlreadyExists(s().Commit("one", "a", {})));
  EXPECT_EQ(s().Stat("a")->kind, Kind::kActive);
  EXPECT_TRUE(absl::IsInvalidArgument(s().Prepare("", "", {}).status()));
}

TEST_P(SnapshotterSuite, ParentsMustBeCommittedAndThere) {
  Prepare("a");
  EXPECT_TRUE(absl::IsInvalidArgument(s().Prepare("b", "a", {}).status()));
  EXPECT_TRUE(absl::IsNotFound(s().Prepare("b", "none", {}).status()));
  EXPECT_TRUE(absl::IsNotFound(s().View("b", "none", {}).status()));
  EXPECT_TRUE(absl::IsNotFound(s().Commit("x", "none", {})));
  EXPECT_TRUE(absl::IsNotFound(s().Mounts("none").status()));
  EXPECT_TRUE(absl::IsNotFound(s().GetUsage("none").status()));
  EXPECT_TRUE(absl::IsNotFound(s().Remove("none")));
  EXPECT_TRUE(absl::IsNotFound(s().Update({.name = "none"}, {}).status()));
  EXPECT_THAT(Names(), testing::ElementsAre("a"));
}

TEST_P(SnapshotterSuite, CommittedIsNeitherMountedNorCommittedAgain) {
  Layer("one", "", "f");
  EXPECT_TRUE(absl::IsFailedPrecondition(s().Mounts("one").status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(s().Commit("two", "one", {})));
}

TEST_P(SnapshotterSuite, ParentsAreRemovedAfterTheirChildren) {
  Layer("one", "", "f");
  Layer("two", "one", "g");
  ASSERT_TRUE(s().View("v", "one", {}).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(s().Remove("one")));
  EXPECT_TRUE(s().Remove("v").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(s().Remove("one")));
  EXPECT_TRUE(s().Remove("two").ok());
  EXPECT_TRUE(s().Remove("one").ok());
  EXPECT_TRUE(absl::IsNotFound(s().Remove("one")));
  EXPECT_THAT(Names(), testing::IsEmpty());
}

TEST_P(SnapshotterSuite, KindsFollowEachOtherUnderOneName) {
  Layer("one", "", "f");
  Prepare("again", "one");
  ASSERT_TRUE(s().Remove("again").ok());
  ASSERT_TRUE(s().View("again", "one", {}).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(s().View("again", "one", {}).status()));
  EXPECT_TRUE(absl::IsAlreadyExists(s().Prepare("again", "one", {}).status()));
  ASSERT_TRUE(s().Remove("again").ok());
  Prepare("again");
  ASSERT_TRUE(s().Remove("one").ok());
  Commit("one", "again");
  EXPECT_EQ(s().Stat("one")->kind, Kind::kCommitted);
  EXPECT_EQ(s().Stat("one")->parent, "");
  EXPECT_TRUE(absl::IsNotFound(s().Stat("again").status()));
  Prepare("again", "one");
  EXPECT_EQ(ReadFile("again", "f"), "(none)");
}

TEST_P(SnapshotterSuite, FilesOfLowerLayersAreMovedChangedAndGivenAway) {
  Prepare("a");
  {
    const sys::UniqueFd root = Root("a");
    ASSERT_EQ(::mkdirat(root.get(), "dir", 0700), 0);
  }
  for (const std::string name : {"moved", "changed", "given", "dir/inside"})
    WriteFile("a", name, "of " + name);
  Commit("one", "a");
  Prepare("b", "one");
  {
    const sys::UniqueFd root = Root("b");
    ASSERT_EQ(::renameat(root.get(), "moved", root.get(), "dir/here"), 0);
    ASSERT_EQ(::fchownat(root.get(), "given", 7, 8, 0), 0);
    ASSERT_EQ(::fchmodat(root.get(), "dir", 0751, 0), 0);
  }
  WriteFile("b", "changed", "anew");
  Commit("two", "b");
  Prepare("c", "two");
  EXPECT_EQ(ReadFile("c", "moved"), "(none)");
  EXPECT_EQ(ReadFile("c", "dir/here"), "of moved");
  EXPECT_EQ(ReadFile("c", "dir/inside"), "of dir/inside");
  EXPECT_EQ(ReadFile("c", "changed"), "anew");
  const sys::UniqueFd root = Root("c");
  struct stat st;
  ASSERT_EQ(::fstatat(root.get(), "given", &st, 0), 0);
  EXPECT_EQ(st.st_uid, 7u);
  EXPECT_EQ(st.st_gid, 8u);
  ASSERT_EQ(::fstatat(root.get(), "dir", &st, 0), 0);
  EXPECT_EQ(st.st_mode & 07777, 0751u);
}

TEST_P(SnapshotterSuite, DirectoryThatWasRemovedAndMadeAgainIsEmpty) {
  Prepare("a");
  {
    const sys::UniqueFd root = Root("a");
    ASSERT_EQ(::mkdirat(root.get(), "dir", 0700), 0);
  }
  WriteFile("a", "dir/old", "old");
  Commit("one", "a");
  Prepare("b", "one");
  {
    const sys::UniqueFd root = Root("b");
    ASSERT_TRUE(sys::RemoveAllAt(root.get(), "dir").ok());
    ASSERT_EQ(::mkdirat(root.get(), "dir", 0700), 0);
  }
  WriteFile("b", "dir/new", "new");
  Commit("two", "b");
  Prepare("c", "two");
  EXPECT_EQ(ReadFile("c", "dir/old"), "(none)");
  EXPECT_EQ(ReadFile("c", "dir/new"), "new");
}

TEST_P(SnapshotterSuite, RootBelongsToTheOwnerOfTheParentsRoot) {
  Prepare("a");
  {
    const sys::UniqueFd root = Root("a");
    ASSERT_EQ(::fchownat(root.get(), ".", 5, 6, 0), 0);
  }
  Commit("one", "a");
  Prepare("b", "one");
  struct stat st;
  const sys::UniqueFd root = Root("b");
  ASSERT_EQ(::fstat(root.get(), &st), 0);
  EXPECT_EQ(st.st_uid, 5u);
  EXPECT_EQ(st.st_gid, 6u);
}

TEST_P(SnapshotterSuite, SnapshotterMayBeAskedDuringAWalk) {
  Layer("one", "", "f");
  Prepare("a", "one");
  ASSERT_TRUE(s().Walk("",
                       [this](const Info& info) {
                         const auto again = s().Stat(info.name);
                         EXPECT_TRUE(again.ok()) << again.status();
                         return again.status();
                       })
                  .ok());
}

TEST_P(SnapshotterSuite, RemovedKeysAreFree) {
  Layer("one", "", "f");
  for (int i = 0; i < 3; ++i) {
    Prepare("a", "one");
    EXPECT_EQ(ReadFile("a", "f"), "of one");
    WriteFile("a", "g", "mine");
    ASSERT_TRUE(s().Remove("a").ok());
    Prepare("a");
    EXPECT_EQ(ReadFile("a", "g"), "(none)");
    ASSERT_TRUE(s().Remove("a").ok());
  }
}

TEST_P(SnapshotterSuite, UpdateChangesLabelsAndNothingElse) {
  Layer("one", "", "f");
  auto info = s().Update({.name = "one", .labels = {{"l1", "v1"}, {"l2", "v2"}}}, {});
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->labels, (Labels{{"l1", "v1"}, {"l2", "v2"}}));
  info = s().Update({.name = "one", .labels = {{"l1", "new"}, {"l4", "v4"}}}, {"labels.l1", "labels.l2"});
  EXPECT_EQ(info->labels, (Labels{{"l1", "new"}}));
  info = s().Update({.name = "one", .labels = {{"l4", "v4"}}}, {"labels"});
  EXPECT_EQ(info->labels, (Labels{{"l4", "v4"}}));
  EXPECT_EQ(info->kind, Kind::kCommitted);
  EXPECT_GT(info->updated, info->created);
  EXPECT_EQ(s().Stat("one")->created, info->created);
  EXPECT_TRUE(absl::IsInvalidArgument(s().Update({.name = "one", .parent = "x"}, {"parent"}).status()));
  EXPECT_EQ(s().Stat("one")->labels, (Labels{{"l4", "v4"}}));
}

TEST_P(SnapshotterSuite, UsageCountsBlocksAndInodesAndHardLinksOnce) {
  Prepare("a");
  const Usage empty = *s().GetUsage("a");
  WriteFile("a", "big", std::string(1 << 20, 'x'));
  {
    const sys::UniqueFd root = Root("a");
    ASSERT_EQ(::linkat(root.get(), "big", root.get(), "again", 0), 0);
    const auto sparse = sys::OpenAt(root.get(), "sparse", O_WRONLY | O_CREAT, 0644);
    ASSERT_EQ(::ftruncate(sparse->get(), 1 << 30), 0);
  }
  const Usage active = *s().GetUsage("a");
  EXPECT_EQ(active.inodes, empty.inodes + 2);
  EXPECT_GE(active.size_bytes, 1 << 20);
  EXPECT_LT(active.size_bytes, 2 << 20);
  Commit("one", "a");
  EXPECT_EQ(s().GetUsage("one")->inodes, active.inodes);
  EXPECT_EQ(s().GetUsage("one")->size_bytes, active.size_bytes);
}

TEST_P(SnapshotterSuite, WalkGoesInOrderAndByPrefix) {
  for (const std::string key : {"ns2/a", "ns1/b", "ns1/a", "ns10/a"}) Prepare(key);
  EXPECT_THAT(Names(), testing::ElementsAre("ns1/a", "ns1/b", "ns10/a", "ns2/a"));
  EXPECT_THAT(Names("ns1/"), testing::ElementsAre("ns1/a", "ns1/b"));
  int visits = 0;
  const absl::Status status = s().Walk("", [&visits](const Info&) {
    ++visits;
    return absl::CancelledError("enough");
  });
  EXPECT_TRUE(absl::IsCancelled(status));
  EXPECT_EQ(visits, 1);
}

TEST_P(SnapshotterSuite, CompanionsWritesHappenWithTheMutationOrNotAtAll) {
  if (GetParam().remote) GTEST_SKIP() << "companions are not for the wire";
  const Companion works = {{{"other", "k"}}, [](kv::WriteBatch* batch) {
                             batch->Put("other", "k", "v");
                             return absl::OkStatus();
                           }};
  const Companion fails = {{}, [](kv::WriteBatch*) { return absl::AbortedError("lease is gone"); }};
  EXPECT_TRUE(absl::IsAborted(s().Prepare("a", "", {.companion = fails}).status()));
  EXPECT_TRUE(absl::IsNotFound(s().Stat("a").status()));
  ASSERT_TRUE(s().Prepare("a", "", {.companion = works}).ok());
  EXPECT_EQ(*db_->Get("other", "k"), "v");
  EXPECT_TRUE(absl::IsAborted(s().Commit("one", "a", {.companion = fails})));
  EXPECT_EQ(s().Stat("a")->kind, Kind::kActive);
  EXPECT_TRUE(absl::IsAborted(s().Remove("a", fails)));
  EXPECT_TRUE(s().Stat("a").ok());
}

TEST_P(SnapshotterSuite, CommitCanPutALayerOnAParent) {
  Layer("one", "", "first");
  Prepare("late");
  WriteFile("late", "second", "2");
  ASSERT_TRUE(s().Commit("two", "late", {}, "one").ok());
  EXPECT_EQ(s().Stat("two")->parent, "one");
  EXPECT_TRUE(absl::IsFailedPrecondition(s().Remove("one")));
  Prepare("a", "one");
  EXPECT_TRUE(absl::IsInvalidArgument(s().Commit("x", "a", {}, "two")));
  EXPECT_TRUE(s().Commit("x", "a", {}, "one").ok());
}

TEST_P(SnapshotterSuite, StateSurvivesReopeningAndLeftoversDoNot) {
  Layer("one", "", "first");
  Prepare("a", "one");
  WriteFile("a", "mine", "kept");
  ASSERT_EQ(::mkdir((dir_ + "/root/snapshots/777").c_str(), 0700), 0);
  Reopen();
  EXPECT_EQ(ReadFile("a", "first"), "of one");
  EXPECT_EQ(ReadFile("a", "mine"), "kept");
  EXPECT_NE(::access((dir_ + "/root/snapshots/777").c_str(), F_OK), 0);
  Prepare("b", "one");
  EXPECT_EQ(ReadFile("b", "mine"), "(none)");
}

TEST_P(SnapshotterSuite, ActiveWhoseDirectoriesAPowerCutTookIsMadeAgain) {
  Prepare("a");
  ASSERT_TRUE(sys::RemoveAllAt(AT_FDCWD, dir_ + "/root/snapshots/1").ok());
  Reopen();
  WriteFile("a", "f", "works");
  EXPECT_EQ(ReadFile("a", "f"), "works");
}

TEST_P(SnapshotterSuite, ManyLayersMount) {
  std::string parent;
  for (int i = 0; i < 128; ++i) {
    const std::string name = absl::StrCat("layer", i);
    Layer(name, parent, absl::StrCat("file", i));
    parent = name;
  }
  Prepare("top", parent);
  EXPECT_EQ(ReadFile("top", "file0"), "of layer0");
  EXPECT_EQ(ReadFile("top", "file127"), "of layer127");
}

TEST_P(SnapshotterSuite, ClosedRefuses) {
  Prepare("a");
  ASSERT_TRUE(s().Close().ok());
  ASSERT_TRUE(s().Close().ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(s().Stat("a").status()));
}

}  // namespace gantry::snapshotter

#endif  // GANTRY_SNAPSHOTTER_SNAPSHOTTER_SUITE_H_
