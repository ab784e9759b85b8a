// What the tests of server and client share: a loop, and a raw peer that reads and writes bytes as it likes.
#ifndef GANTRY_API_TTRPC_TEST_PEER_H_
#define GANTRY_API_TTRPC_TEST_PEER_H_

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "api/ttrpc/envelope.h"
#include "api/ttrpc/frame.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/event_loop.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::ttrpc {

inline std::unique_ptr<sys::EventLoop> MakeLoop() {
  auto loop = sys::EventLoop::Create();
  EXPECT_TRUE(loop.ok()) << loop.status();
  return *std::move(loop);
}

inline std::pair<sys::UniqueFd, sys::UniqueFd> MakePair() {
  int fds[2] = {-1, -1};
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
  return {sys::UniqueFd(fds[0]), sys::UniqueFd(fds[1])};
}

// Turns the loop until `done`, at most five seconds; false if it never was.
inline bool TurnUntil(sys::EventLoop& loop, const std::function<bool()>& done) {
  const auto deadline = sys::Deadline::After(absl::Seconds(5));
  while (!done()) {
    if (deadline.Passed()) return false;
    EXPECT_TRUE(loop.RunOnce(absl::Milliseconds(1)).ok());
  }
  return true;
}

// The far end of a connection, which turns the loop while it waits.
class RawPeer {
 public:
  RawPeer(sys::EventLoop* loop, sys::UniqueFd fd) : loop_(loop), fd_(std::move(fd)) {}

  void Write(absl::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t count = send(fd_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (count > 0) bytes.remove_prefix(static_cast<size_t>(count));
      if (count <= 0 && errno != EAGAIN) return;  // closed on us
      EXPECT_TRUE(loop_->RunOnce(absl::ZeroDuration()).ok());
    }
  }
  void WriteFrame(uint32_t stream, uint8_t type, uint8_t flags, absl::string_view data) {
    std::string bytes;
    AppendFrame(bytes, stream, type, flags, data);
    Write(bytes);
  }
  void WriteRequest(uint32_t stream, const Request& request, uint8_t flags = 0) {
    WriteFrame(stream, kRequest, flags, EncodeRequest(request));
  }

  // The next frame, or nothing if the connection was closed (or five seconds passed).
  std::optional<Frame> Read() {
    std::optional<Frame> result;
    TurnUntil(*loop_, [&] { return TakeFrame(result) || closed_; });
    return result;
  }
  // The next frame, which must be a response on `stream`.
  Response ReadResponse(uint32_t stream) {
    std::optional<Frame> frame = Read();
    EXPECT_TRUE(frame.has_value()) << "no answer";
    if (!frame) return {};
    EXPECT_EQ(frame->stream, stream);
    EXPECT_EQ(frame->type, kResponse);
    auto response = ParseResponse(frame->data);
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? *response : Response{};
  }
  bool WaitClosed() {
    std::optional<Frame> frame;
    return TurnUntil(*loop_, [&] {
      TakeFrame(frame);
      return closed_;
    });
  }
  void Close() { fd_.reset(); }
  int fd() const { return fd_.get(); }

 private:
  bool TakeFrame(std::optional<Frame>& out) {
    char buffer[65536];
    const ssize_t count = recv(fd_.get(), buffer, sizeof(buffer), MSG_DONTWAIT);
    if (count == 0 || (count < 0 && errno != EAGAIN)) closed_ = true;
    if (count > 0) decoder_.Append(absl::string_view(buffer, static_cast<size_t>(count)));
    auto frame = decoder_.Next();
    EXPECT_TRUE(frame.ok()) << frame.status();
    if (!frame.ok() || !frame->has_value()) return false;
    out = **std::move(frame);
    return true;
  }

  sys::EventLoop* loop_;
  sys::UniqueFd fd_;
  FrameDecoder decoder_;
  bool closed_ = false;
};

}  // namespace gantry::ttrpc

#endif  // GANTRY_API_TTRPC_TEST_PEER_H_
