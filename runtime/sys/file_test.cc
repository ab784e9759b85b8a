#include "runtime/sys/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "runtime/sys/status.h"

namespace gantry::sys {
namespace {

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry-file-test-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    root_ = UniqueFd(open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    ASSERT_TRUE(root_.valid());
  }
  void TearDown() override {
    EXPECT_TRUE(RemoveAllAt(AT_FDCWD, dir_).ok());
    EXPECT_NE(access(dir_.c_str(), F_OK), 0);
  }

  std::string dir_;
  UniqueFd root_;
};

TEST_F(FileTest, AtomicWriteReplacesTheWholeFile) {
  ASSERT_TRUE(WriteFileAtomic(root_.get(), "f", "first, and longer", 0600, Durability::kSynced).ok());
  ASSERT_TRUE(WriteFileAtomic(root_.get(), "f", "second", 0600, Durability::kVolatile).ok());
  EXPECT_EQ(*ReadFileAt(root_.get(), "f", 100), "second");
}

TEST_F(FileTest, FailedAtomicWriteLeavesNothing) {
  ASSERT_EQ(mkdirat(root_.get(), "d", 0700), 0);
  const absl::Status status = WriteFileAtomic(root_.get(), "d", "x", 0600, Durability::kVolatile);
  EXPECT_EQ(ErrnoOf(status), EISDIR) << status;
  EXPECT_EQ(rmdir((dir_ + "/d").c_str()), 0);
  EXPECT_EQ(rmdir(dir_.c_str()), 0) << "a temporary file was left";
  ASSERT_EQ(mkdir(dir_.c_str(), 0700), 0);
}

TEST_F(FileTest, ReadRefusesMoreThanTheLimit) {
  ASSERT_TRUE(WriteFileAtomic(root_.get(), "f", std::string(101, 'x'), 0600, Durability::kVolatile).ok());
  EXPECT_EQ(ReadFileAt(root_.get(), "f", 100).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReadFileAt(root_.get(), "f", 101)->size(), 101u);
}

TEST_F(FileTest, SymlinksCannotLeaveTheRoot) {
  ASSERT_EQ(symlinkat("/etc", root_.get(), "link"), 0);
  EXPECT_EQ(ErrnoOf(OpenInRoot(root_.get(), "link/passwd", O_RDONLY).status()), ENOENT);
  EXPECT_EQ(ErrnoOf(OpenBeneath(root_.get(), "link", O_RDONLY).status()), ELOOP);
  EXPECT_EQ(ErrnoOf(OpenBeneath(root_.get(), "../x", O_RDONLY).status()), EXDEV);
}

TEST_F(FileTest, MkdirAllInRootFollowsLinksInsideTheRootOnly) {
  ASSERT_EQ(mkdirat(root_.get(), "real", 0700), 0);
  ASSERT_EQ(symlinkat("/real", root_.get(), "link"), 0);
  ASSERT_TRUE(MkdirAllInRoot(root_.get(), "link/a/../../b/c", 0755).ok());
  EXPECT_EQ(access((dir_ + "/real/a").c_str(), F_OK), 0);
  EXPECT_EQ(access((dir_ + "/b/c").c_str(), F_OK), 0);
}

TEST_F(FileTest, RemoveAllNeverFollowsASymlink) {
  ASSERT_TRUE(MkdirAll(dir_ + "/outside/keep", 0700).ok());
  ASSERT_TRUE(MkdirAll(dir_ + "/tree/deep/er", 0700).ok());
  ASSERT_EQ(symlink((dir_ + "/outside").c_str(), (dir_ + "/tree/deep/link").c_str()), 0);
  ASSERT_TRUE(RemoveAllAt(root_.get(), "tree").ok());
  EXPECT_EQ(access((dir_ + "/outside/keep").c_str(), F_OK), 0);
  EXPECT_TRUE(RemoveAllAt(root_.get(), "never-there").ok());
}

TEST_F(FileTest, MkdirAllRefusesAFileInTheWay) {
  ASSERT_TRUE(WriteFileAtomic(root_.get(), "f", "", 0600, Durability::kVolatile).ok());
  EXPECT_EQ(ErrnoOf(MkdirAll(dir_ + "/f", 0700)), ENOTDIR);
  EXPECT_EQ(ErrnoOf(MkdirAll(dir_ + "/f/g", 0700)), ENOTDIR);
}

}  // namespace
}  // namespace gantry::sys
