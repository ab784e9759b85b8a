#include "daemon/server/listener.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/socket.h"

namespace gantry::server {
namespace {

using testing::HasSubstr;

class ListenerTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(mkdtemp(directory_), nullptr); }
  void TearDown() override { EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, directory_).ok()); }
  ListenOptions Options() { return {absl::StrCat(directory_, "/d/x.sock"), 0600, geteuid(), getegid()}; }
  char directory_[64] = "/tmp/gantry-listen-XXXXXX";
};

TEST_F(ListenerTest, StaleSocketIsReplaced) {
  { ASSERT_TRUE(ListenAt(Options()).ok()); }  // closed, not unlinked: what a killed process leaves
  EXPECT_EQ(access(Options().path.c_str(), F_OK), 0);
  EXPECT_TRUE(ListenAt(Options()).ok());
}

TEST_F(ListenerTest, FileThatIsNoSocketIsNotRemoved) {
  ASSERT_TRUE(sys::MkdirAll(absl::StrCat(directory_, "/d"), 0700).ok());
  ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, Options().path, "data", 0600, sys::Durability::kVolatile).ok());
  const auto listening = ListenAt(Options());
  EXPECT_EQ(listening.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(listening.status().message()), HasSubstr("no socket"));
  EXPECT_EQ(*sys::ReadFileAt(AT_FDCWD, Options().path, 100), "data");
}

TEST_F(ListenerTest, ConnectionsArriveAndTheSocketGoesWithTheListener) {
  auto loop = *sys::EventLoop::Create();
  int connections = 0;
  {
    Listener listener(loop.get(), *ListenAt(Options()), Options().path);
    ASSERT_TRUE(listener.Start([&](sys::UniqueFd) { ++connections; }).ok());
    for (int i = 0; i < 3; ++i) ASSERT_TRUE(sys::ConnectUnix(Options().path, SOCK_STREAM).ok());
    ASSERT_TRUE(loop->RunOnce(absl::Seconds(1)).ok());
  }
  EXPECT_EQ(connections, 3);
  EXPECT_NE(access(Options().path.c_str(), F_OK), 0);
  EXPECT_EQ(loop->watched(), 0u);
}

}  // namespace
}  // namespace gantry::server
