#include "runtime/sys/socket.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::sys {
namespace {

class SocketTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(mkdtemp(directory_), nullptr); }
  void TearDown() override { EXPECT_TRUE(RemoveAllAt(AT_FDCWD, directory_).ok()); }
  char directory_[32] = "/tmp/socket_test.XXXXXX";
};

TEST_F(SocketTest, DescriptorsArriveCloseOnExec) {
  auto pair = MakeSocketPair(SOCK_SEQPACKET);
  ASSERT_TRUE(pair.ok());
  int pipe_fds[2];
  ASSERT_EQ(pipe(pipe_fds), 0);
  UniqueFd reader(pipe_fds[0]), writer(pipe_fds[1]);
  ASSERT_TRUE(SendWithFds(pair->first.get(), "x", {writer.get()}).ok());
  auto message = ReceiveWithFds(pair->second.get(), 16);
  ASSERT_TRUE(message.ok()) << message.status();
  EXPECT_EQ(message->data, "x");
  ASSERT_EQ(message->fds.size(), 1u);
  EXPECT_EQ(fcntl(message->fds[0].get(), F_GETFD), FD_CLOEXEC);
  EXPECT_EQ(write(message->fds[0].get(), "hi", 2), 2);
  char buffer[2];
  EXPECT_EQ(read(reader.get(), buffer, 2), 2);
}

TEST_F(SocketTest, TooLongAMessageIsRefused) {
  auto pair = MakeSocketPair(SOCK_SEQPACKET);
  ASSERT_TRUE(pair.ok());
  ASSERT_TRUE(SendWithFds(pair->first.get(), std::string(100, 'x'), {}).ok());
  EXPECT_EQ(ReceiveWithFds(pair->second.get(), 10).status().code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(SocketTest, AClosedPeerIsAnEmptyMessage) {
  auto pair = MakeSocketPair(SOCK_SEQPACKET);
  ASSERT_TRUE(pair.ok());
  pair->first.reset();
  auto message = ReceiveWithFds(pair->second.get(), 10);
  ASSERT_TRUE(message.ok());
  EXPECT_TRUE(message->data.empty());
}

TEST_F(SocketTest, LongPathsWork) {
  const std::string deep = absl::StrCat(directory_, "/", std::string(150, 'd'));
  ASSERT_TRUE(MkdirAll(deep, 0700).ok());
  const std::string path = absl::StrCat(deep, "/socket");
  auto listening = ListenUnix(path, SOCK_STREAM, 0600);
  ASSERT_TRUE(listening.ok()) << listening.status();
  struct stat st;
  ASSERT_EQ(stat(path.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
  auto client = ConnectUnix(path, SOCK_STREAM);
  ASSERT_TRUE(client.ok()) << client.status();
  auto peer = PeerOf(client->get());
  ASSERT_TRUE(peer.ok());
  EXPECT_EQ(peer->pid, getpid());
  EXPECT_EQ(ErrnoOf(ListenUnix(path, SOCK_STREAM, 0600).status()), EADDRINUSE);
}

TEST_F(SocketTest, NobodyThereIsToldApart) {
  const std::string path = absl::StrCat(directory_, "/s");
  EXPECT_EQ(ErrnoOf(ConnectUnix(path, SOCK_STREAM).status()), ENOENT);
  { ASSERT_TRUE(ListenUnix(path, SOCK_STREAM, 0600).ok()); }
  EXPECT_EQ(ErrnoOf(ConnectUnix(path, SOCK_STREAM).status()), ECONNREFUSED);
}

}  // namespace
}  // namespace gantry::sys
