#include "daemon/server/frame_filter.h"

#include <gtest/gtest.h>

#include <random>

#include "absl/strings/str_cat.h"

namespace gantry::server {
namespace {

constexpr uint32_t kMost = 1000;
constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

std::string Number(uint32_t number, int bytes) {
  std::string out;
  for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(number >> (8 * i));
  return out;
}

std::string Frame(uint8_t type, uint8_t flags, uint32_t stream, const std::string& payload) {
  return Number(static_cast<uint32_t>(payload.size()), 3) + static_cast<char>(type) +
         static_cast<char>(flags) + Number(stream, 4) + payload;
}

std::string Padded(uint8_t type, uint8_t flags, uint32_t stream, const std::string& payload,
                   uint8_t padding) {
  return Frame(type, flags | 8, stream, static_cast<char>(padding) + payload + std::string(padding, '\0'));
}

std::string Message(uint32_t size, size_t sent) {
  return std::string(1, '\0') + Number(size, 4) + std::string(sent, 'm');
}

std::string Cancel(uint32_t stream) { return Frame(3, 0, stream, Number(8, 4)); }

// What gRPC gets of the bytes, read in parts of the given sizes (over and over).
std::string Pass(FrameFilter* filter, const std::string& bytes, const std::vector<size_t>& sizes) {
  std::string out;
  size_t at = 0;
  for (size_t i = 0; at < bytes.size(); ++i) {
    const std::string part = bytes.substr(at, sizes[i % sizes.size()]);
    at += part.size();
    out += part.substr(0, filter->Received(part));
    out += filter->ready();
    filter->ready().clear();
  }
  return out;
}

std::string Pass(const std::string& bytes, const std::vector<size_t>& sizes = {1 << 20}) {
  FrameFilter filter(kMost);
  return Pass(&filter, bytes, sizes);
}

TEST(FrameFilterTest, PlainFramesPassAsTheyAre) {
  const std::string bytes = kPreface + Frame(4, 0, 0, "") + Frame(1, 4, 1, "headers") +
                            Frame(0, 1, 1, Message(5, 5)) + Frame(0xbe, 0xff, 0, "unknown") +
                            Frame(8, 0, 0, "1234");
  FrameFilter filter(kMost);
  EXPECT_EQ(filter.Received(bytes), bytes.size());
  EXPECT_TRUE(filter.ready().empty());
  EXPECT_TRUE(filter.TakeReplies().empty());
  for (size_t size = 1; size < 30; ++size) EXPECT_EQ(Pass(bytes, {size}), bytes) << size;
}

TEST(FrameFilterTest, PaddingIsTakenOutAndItsWindowGivenBack) {
  const std::string bytes = kPreface + Padded(1, 4, 1, "headers", 7) + Padded(0, 0, 1, Message(3, 3), 200) +
                            Padded(0, 1, 1, "", 0) + Frame(1, 5, 3, "next");
  const std::string wanted = kPreface + Frame(1, 4, 1, "headers") + Frame(0, 0, 1, Message(3, 3)) +
                             Frame(0, 1, 1, "") + Frame(1, 5, 3, "next");
  for (size_t size = 1; size < bytes.size() + 1; ++size) {
    FrameFilter filter(kMost);
    EXPECT_EQ(Pass(&filter, bytes, {size}), wanted) << size;
    EXPECT_EQ(filter.TakeReplies(),
              Frame(8, 0, 0, Number(201, 4)) + Frame(8, 0, 1, Number(201, 4)) + Frame(8, 0, 0, Number(1, 4)))
        << size;
    EXPECT_TRUE(filter.TakeReplies().empty());
  }
}

TEST(FrameFilterTest, PaddingThatIsNoneIsLeftToGrpc) {
  for (const std::string& broken : {Frame(1, 12, 1, ""), Frame(1, 12, 1, "\x01"),
                                    Frame(0, 8, 1,
                                          "\xff"
                                          "abc")}) {
    const std::string bytes = kPreface + broken + Frame(6, 0, 0, "12345678");
    for (size_t size = 1; size < bytes.size() + 1; ++size) EXPECT_EQ(Pass(bytes, {size}), bytes);
  }
}

TEST(FrameFilterTest, MessageThatIsTooLargeIsAnsweredWhenItsLengthIsKnown) {
  const std::string begin = kPreface + Frame(1, 4, 1, "headers");
  const std::string large = Frame(0, 0, 1, Message(kMost + 1, 10));
  const std::string rest = Frame(0, 0, 1, "more") + Frame(1, 5, 3, "next");
  for (size_t size = 1; size < 60; ++size) {
    FrameFilter filter(kMost);
    EXPECT_EQ(Pass(&filter, begin + large + rest, {size}), begin + large + Cancel(1) + rest) << size;
    const std::string replies = filter.TakeReplies();
    EXPECT_EQ(replies.substr(3, 6), std::string("\x01\x05\0\0\0\x01", 6));
    EXPECT_EQ(replies.substr(9, 4), "\x88\x0f\x10\x10");
    EXPECT_NE(replies.find("\x0bgrpc-status\x01"
                           "8"),
              std::string::npos);
    EXPECT_NE(replies.find("1001 bytes is larger than 1000"), std::string::npos);
    EXPECT_EQ(replies.substr(replies.size() - 13), Frame(3, 0, 1, Number(0, 4)));
  }
}

TEST(FrameFilterTest, LaterMessageIsMeasuredTooAndTheLargestIsTaken) {
  const std::string fits = Message(kMost, kMost) + Message(0, 0) + Message(1, 1);
  EXPECT_EQ(Pass(kPreface + Frame(0, 1, 1, fits)), kPreface + Frame(0, 1, 1, fits));
  FrameFilter filter(kMost);
  filter.Sent(Frame(1, 4, 1, "response headers"));
  const std::string split = Frame(0, 0, 1, fits + Message(kMost + 1, 0).substr(0, 3)) +
                            Frame(0, 0, 3, Message(2, 2)) + Frame(0, 0, 1, Message(kMost + 1, 0).substr(3));
  EXPECT_EQ(Pass(&filter, kPreface + split + Frame(6, 0, 0, "12345678"), {1 << 20}),
            kPreface + split + Cancel(1) + Frame(6, 0, 0, "12345678"));
  // The headers are there already: what comes are trailers.
  EXPECT_EQ(filter.TakeReplies().substr(9, 13), std::string("\0\x0bgrpc-status", 13));
}

TEST(FrameFilterTest, RepliesWaitForTheEndOfGrpcsFrame) {
  FrameFilter filter(kMost);
  const std::string out = Frame(0, 0, 1, "some data") + Frame(4, 1, 0, "");
  filter.Sent(out.substr(0, 12));
  Pass(&filter, kPreface + Padded(0, 0, 1, "", 3), {100});
  EXPECT_TRUE(filter.TakeReplies().empty());
  filter.Sent(out.substr(12, 10));
  EXPECT_TRUE(filter.TakeReplies().empty());
  filter.Sent(out.substr(22));
  EXPECT_EQ(filter.TakeReplies().size(), 26u);
}

// However the reads fall, the same comes out; rubbish ends in no fault.
TEST(FrameFilterTest, SplitsChangeNothing) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::string bytes = kPreface;
    for (int i = 0; i < 30; ++i) {
      const auto type = static_cast<uint8_t>(random() % 10), flags = static_cast<uint8_t>(random() % 64);
      const uint32_t stream = random() % 4;
      std::string payload(random() % 40, '\0');
      for (char& c : payload) c = static_cast<char>(random() % 3 == 0 ? random() : 0);
      bytes += random() % 2 ? Padded(type, flags, stream, payload, static_cast<uint8_t>(random() % 256))
                            : Frame(type, flags, stream, payload);
    }
    const std::string whole = Pass(bytes);
    FrameFilter kept(kMost);
    kept.Keep(bytes);
    ASSERT_EQ(kept.ready(), whole) << round;
    const std::vector<size_t> sizes = {random() % 50 + 1, random() % 9 + 1, random() % 300 + 1};
    ASSERT_EQ(Pass(bytes, sizes), whole) << round;
  }
}

}  // namespace
}  // namespace gantry::server
