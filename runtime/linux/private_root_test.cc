#include "runtime/linux/private_root.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"

namespace gantry::linux {
namespace {

std::string Mounts() { return *sys::ReadFileAt(AT_FDCWD, "/proc/self/mountinfo", 16 << 20); }

class PrivateRoot : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root: it mounts";
    char name[] = "/tmp/gantry-private-root-XXXXXX";
    directory_ = mkdtemp(name);
    for (const char* sub : {"/lower", "/upper", "/work", "/target", "/lower/inside"}) {
      ASSERT_TRUE(sys::MkdirAll(directory_ + sub, 0755).ok());
    }
    close(creat((directory_ + "/lower/file").c_str(), 0644));
  }
  void TearDown() override {
    if (directory_.empty()) return;
    EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, directory_).ok());
  }
  // Mounts in a child; its exit status: 0 if it sees `file` at the target then.
  int InChild(const std::vector<plan::RootfsMount>& mounts, const std::string& file) {
    const pid_t pid = fork();
    if (pid == 0) {
      const auto root = MountRootPrivately(mounts, directory_ + "/target");
      if (!root.ok()) {
        fprintf(stderr, "%s\n", root.status().ToString().c_str());
        _exit(1);
      }
      if (!absl::StrContains(Mounts(), directory_ + "/target")) _exit(2);
      if (access(absl::StrCat(directory_, "/target/", file).c_str(), F_OK) != 0) _exit(3);
      _exit(faccessat(root->get(), file.c_str(), F_OK, 0) == 0 ? 0 : 4);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
  }
  std::string directory_;
};

TEST_F(PrivateRoot, AnOverlayIsSeenByTheCallerAndByNobodyElse) {
  const std::string lower = directory_ + "/lower", upper = directory_ + "/upper";
  EXPECT_EQ(InChild({{"overlay",
                      "overlay",
                      "",
                      {absl::StrCat("lowerdir=", lower, ":", directory_, "/target"),
                       absl::StrCat("upperdir=", upper), absl::StrCat("workdir=", directory_, "/work")}}},
                    "file"),
            0);
  EXPECT_FALSE(absl::StrContains(Mounts(), directory_));
}

TEST_F(PrivateRoot, ABindWithAMountInside) {
  EXPECT_EQ(InChild({{"bind", directory_ + "/lower", "", {"rbind", "ro"}},
                     {"bind", directory_ + "/upper", "/inside", {"bind"}}},
                    "inside"),
            0);
  EXPECT_FALSE(absl::StrContains(Mounts(), directory_));
}

TEST_F(PrivateRoot, WhatCannotBeMountedIsNamed) {
  EXPECT_EQ(InChild({{"bind", directory_ + "/missing", "", {"bind"}}}, "file"), 1);
  EXPECT_FALSE(absl::StrContains(Mounts(), directory_));
}

}  // namespace
}  // namespace gantry::linux
