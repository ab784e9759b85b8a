#include "daemon/wiring/directories.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"

namespace gantry::wiring {
namespace {

using testing::HasSubstr;

class DirectoriesTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(mkdtemp(directory_), nullptr);
    path_ = absl::StrCat(directory_, "/a/b");
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, directory_).ok()); }
  char directory_[64] = "/tmp/gantry-dirs-XXXXXX";
  std::string path_;
};

TEST_F(DirectoriesTest, LockSetsTheModeAndRefusesASecondHolderWithThePid) {
  ASSERT_TRUE(sys::MkdirAll(path_, 0755).ok());
  {
    const auto lock = DirectoryLock::Acquire("root", path_, 0700);
    ASSERT_TRUE(lock.ok()) << lock.status();
    struct stat st;
    ASSERT_EQ(stat(path_.c_str(), &st), 0);
    EXPECT_EQ(st.st_mode & 07777, 0700u);
    const auto second = DirectoryLock::Acquire("root", path_, 0700);
    EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(second.status().message()), HasSubstr(absl::StrCat("pid ", getpid())));
    EXPECT_THAT(std::string(second.status().message()), HasSubstr(path_));
  }
  EXPECT_TRUE(DirectoryLock::Acquire("root", path_, 0700).ok());
}

TEST_F(DirectoriesTest, LockOfADeadHolderIsWaitedForWhileAnHeirHasItsDescriptor) {
  int heir[2];  // its end of the pipe keeps it alive
  ASSERT_EQ(pipe(heir), 0);
  const pid_t daemon = fork();
  if (daemon == 0) {
    const auto lock = DirectoryLock::Acquire("root", path_, 0700);
    if (fork() == 0) {
      close(heir[1]);
      char byte;
      while (read(heir[0], &byte, 1) > 0) {
      }
      usleep(100'000);
    }
    _exit(lock.ok() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(daemon, &status, 0), daemon);
  ASSERT_EQ(status, 0);
  close(heir[0]);
  close(heir[1]);
  const auto lock = DirectoryLock::Acquire("root", path_, 0700);
  EXPECT_TRUE(lock.ok()) << lock.status();
}

TEST_F(DirectoriesTest, UuidIsMadeOnceAndKept) {
  const auto first = LoadUuid(directory_);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_THAT(*first, testing::MatchesRegex("[0-9a-f-]+"));
  EXPECT_EQ(first->size(), 36u);
  EXPECT_EQ((*first)[14], '4');
  EXPECT_EQ(*LoadUuid(directory_), *first);
}

TEST_F(DirectoriesTest, DamagedUuidIsAnErrorThatNamesTheFile) {
  ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, absl::StrCat(directory_, "/uuid"), "junk", 0600,
                                   sys::Durability::kVolatile)
                  .ok());
  EXPECT_THAT(std::string(LoadUuid(directory_).status().message()), HasSubstr("/uuid holds no uuid"));
}

}  // namespace
}  // namespace gantry::wiring
