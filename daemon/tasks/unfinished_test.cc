#include "daemon/tasks/unfinished.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/socket.h"

namespace gantry::tasks {
namespace {

class UnfinishedTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(mkdtemp(directory_), nullptr); }
  void TearDown() override { EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, directory_).ok()); }

  // A process that works in `directory` for ever.
  static pid_t WorkIn(const std::string& directory) {
    int ready[2];
    if (pipe(ready) != 0) return -1;
    const pid_t pid = fork();
    if (pid == 0) {
      const bool there = chdir(directory.c_str()) == 0;
      if (write(ready[1], there ? "y" : "n", 1) != 1) _exit(1);
      while (true) pause();
    }
    char byte = 'n';
    if (read(ready[0], &byte, 1) != 1) byte = 'n';
    close(ready[0]);
    close(ready[1]);
    return byte == 'y' ? pid : -1;
  }

  void End(const std::string& shim, absl::Duration patience) {
    EndUnfinished({{"ns", "id"}, directory_, shim, directory_}, patience);
  }

  char directory_[64] = "/tmp/gantry-unfinished-XXXXXX";
};

TEST_F(UnfinishedTest, OnlyProcessesOfTheBundleEnd) {
  const std::string below = absl::StrCat(directory_, "/below");
  ASSERT_EQ(mkdir(below.c_str(), 0700), 0);
  const pid_t inside = WorkIn(directory_), outside = WorkIn(below);
  ASSERT_GT(inside, 0);
  ASSERT_GT(outside, 0);
  End("/proc/self/exe", absl::Seconds(10));
  int status = 0;
  EXPECT_EQ(waitpid(inside, &status, WNOHANG), inside);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(waitpid(outside, &status, WNOHANG), 0);
  kill(outside, SIGKILL);
  waitpid(outside, &status, 0);
}

TEST_F(UnfinishedTest, WhatIsNoShimMayFinishUntilTheTimeIsUp) {
  const pid_t runtime = WorkIn(directory_);
  ASSERT_GT(runtime, 0);
  const absl::Time start = absl::Now();
  End("/none", absl::Milliseconds(100));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(100));
  int status = 0;
  EXPECT_EQ(waitpid(runtime, &status, WNOHANG), runtime);
}

TEST_F(UnfinishedTest, ASocketGoesUnlessSomebodyServesIt) {
  const std::string path = absl::StrCat(directory_, "/socket");
  ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, absl::StrCat(directory_, "/address"), "unix://" + path, 0600,
                                   sys::Durability::kVolatile)
                  .ok());
  {
    const auto served = sys::ListenUnix(path, SOCK_STREAM, 0600);
    ASSERT_TRUE(served.ok()) << served.status();
    End("/none", absl::ZeroDuration());
    EXPECT_EQ(access(path.c_str(), F_OK), 0);
  }
  EXPECT_EQ(access(path.c_str(), F_OK), 0);
  End("/none", absl::ZeroDuration());
  EXPECT_NE(access(path.c_str(), F_OK), 0);
}

}  // namespace
}  // namespace gantry::tasks
