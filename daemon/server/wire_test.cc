// The filter under recvmsg, sendmsg and close, as gRPC calls them.
#include "daemon/server/wire.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

namespace gantry::server {
namespace {

constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

class WireTest : public testing::Test {
 protected:
  void SetUp() override {
    int pair[2];
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    client_ = pair[0];
    server_ = pair[1];
    FilterConnection(server_, 1000);
  }
  void TearDown() override {
    close(client_);
    close(server_);
  }

  static std::string Frame(char type, char flags, char stream, const std::string& payload) {
    return std::string{0, 0, static_cast<char>(payload.size()), type, flags, 0, 0, 0, stream} + payload;
  }
  void Say(const std::string& bytes) {
    ASSERT_EQ(write(client_, bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  }
  // All that there is for the server, read into buffers of the given sizes.
  std::string Receive(const std::vector<size_t>& sizes = {4096}) {
    std::string all;
    for (;;) {
      std::vector<std::string> buffers;
      std::vector<iovec> parts;
      for (const size_t size : sizes) buffers.emplace_back(size, '\0');
      for (std::string& buffer : buffers) parts.push_back({buffer.data(), buffer.size()});
      msghdr message = {};
      message.msg_iov = parts.data();
      message.msg_iovlen = parts.size();
      ssize_t got = recvmsg(server_, &message, 0);
      if (got <= 0) {
        EXPECT_EQ(errno, EAGAIN);
        return all;
      }
      for (const std::string& buffer : buffers) {
        const size_t part = std::min(buffer.size(), static_cast<size_t>(got));
        all += buffer.substr(0, part);
        got -= static_cast<ssize_t>(part);
      }
    }
  }
  std::string Answered() {
    char buffer[4096];
    const ssize_t got = read(client_, buffer, sizeof buffer);
    return got > 0 ? std::string(buffer, static_cast<size_t>(got)) : std::string();
  }
  ssize_t Send(std::string bytes) {
    iovec part = {bytes.data(), bytes.size()};
    msghdr message = {};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    return sendmsg(server_, &message, 0);
  }

  int client_ = -1, server_ = -1;
};

TEST_F(WireTest, PaddingIsGoneWhateverTheBuffers) {
  const std::string ping = Frame(6, 0, 0, "12345678");
  Say(kPreface + Frame(1, 12, 1, std::string("\x02headers\0\0", 10)) +
      Frame(0, 8, 1,
            std::string("\x03"
                        "abc\0\0\0",
                        7)) +
      ping);
  EXPECT_EQ(Receive({7, 1, 30, 5}), kPreface + Frame(1, 4, 1, "headers") + Frame(0, 0, 1, "abc") + ping);
  const std::string credit("\0\0\0\x04", 4);
  EXPECT_EQ(Answered(), Frame(8, 0, 0, credit) + Frame(8, 0, 1, credit));
}

TEST_F(WireTest, BytesOfOneAtATimeAreNoEndOfFile) {
  const std::string bytes = std::string(kPreface) + Frame(1, 4, 1, "headers") + Frame(0, 1, 1, "");
  std::string all;
  for (const char byte : bytes) {
    Say(std::string(1, byte));
    all += Receive();
  }
  EXPECT_EQ(all, bytes);
}

TEST_F(WireTest, RefusalIsSentBetweenFramesOfTheServer) {
  const std::string out = Frame(0, 0, 1, "some data");
  ASSERT_EQ(Send(out.substr(0, 12)), 12);
  Say(kPreface + Frame(0, 0, 3, std::string("\0\0\0\x10\0", 5)));
  EXPECT_EQ(Receive(), kPreface + Frame(0, 0, 3, std::string("\0\0\0\x10\0", 5)) +
                           Frame(3, 0, 3, std::string("\0\0\0\x08", 4)));
  EXPECT_EQ(Answered(), out.substr(0, 12));
  ASSERT_EQ(Send(out.substr(12)), static_cast<ssize_t>(out.size() - 12));
  EXPECT_EQ(Answered(), out.substr(12));
  ASSERT_EQ(Send(Frame(4, 1, 0, "")), 9);
  const std::string answer = Answered();
  EXPECT_NE(answer.find("grpc-status\x01"
                        "8"),
            std::string::npos);
  EXPECT_EQ(answer.substr(answer.size() - 9), Frame(4, 1, 0, ""));
}

TEST_F(WireTest, NumberOfAClosedConnectionIsFilteredNoMore) {
  const int number = server_;
  close(server_);
  close(client_);
  int pair[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
  client_ = pair[0] == number ? pair[1] : pair[0];
  server_ = pair[0] == number ? pair[0] : pair[1];
  Say(kPreface + Frame(1, 12, 1, "\x01h"));
  EXPECT_EQ(Receive(), kPreface + Frame(1, 12, 1, "\x01h"));
}

}  // namespace
}  // namespace gantry::server
