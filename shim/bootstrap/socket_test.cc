#include "shim/bootstrap/socket.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gtest/gtest.h"
#include "runtime/sys/file.h"
#include "runtime/sys/socket.h"

namespace gantry::shim {
namespace {

class SocketTest : public ::testing::Test {
 protected:
  SocketTest() {
    char name[] = "/tmp/shim-socket-XXXXXX";
    directory_ = mkdtemp(name);
  }
  ~SocketTest() override { sys::RemoveAllAt(AT_FDCWD, directory_).IgnoreError(); }
  std::string directory_;
};

TEST_F(SocketTest, IsOursAloneAndKnowsItsPath) {
  const std::string path = directory_ + "/made/s";
  const auto fd = ListenAt(path);
  ASSERT_TRUE(fd.ok()) << fd.status();
  struct stat info;
  ASSERT_EQ(stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  ASSERT_EQ(stat((directory_ + "/made").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  EXPECT_TRUE(sys::ConnectUnix(path, SOCK_STREAM).ok());
}

TEST_F(SocketTest, ALiveShimIsNotReplaced) {
  const std::string path = directory_ + "/s";
  const auto first = ListenAt(path);
  ASSERT_TRUE(first.ok());
  EXPECT_TRUE(absl::IsAlreadyExists(ListenAt(path).status()));
  EXPECT_TRUE(sys::ConnectUnix(path, SOCK_STREAM).ok());
}

TEST_F(SocketTest, WhatAKilledShimLeftIsReplaced) {
  const std::string path = directory_ + "/s";
  { ASSERT_TRUE(ListenAt(path).ok()); }
  const auto second = ListenAt(path);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_TRUE(sys::ConnectUnix(path, SOCK_STREAM).ok());
}

TEST_F(SocketTest, AFileInItsPlaceIsLeftAlone) {
  const std::string path = directory_ + "/s";
  ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, path, "precious", 0600, sys::Durability::kVolatile).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(ListenAt(path).status()));
  EXPECT_EQ(*sys::ReadFileAt(AT_FDCWD, path, 100), "precious");
}

TEST_F(SocketTest, ATooLongPathIsRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(ListenAt(directory_ + "/" + std::string(120, 'x')).status()));
}

}  // namespace
}  // namespace gantry::shim
