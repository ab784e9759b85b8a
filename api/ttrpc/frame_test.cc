#include "api/ttrpc/frame.h"

#include <gtest/gtest.h>

#include <vector>

#include "absl/status/status.h"

namespace gantry::ttrpc {
namespace {

// Feeds `bytes` in pieces of `piece` bytes and collects the frames.
absl::StatusOr<std::vector<Frame>> Decode(FrameDecoder& decoder, absl::string_view bytes, size_t piece) {
  std::vector<Frame> frames;
  for (; !bytes.empty(); bytes.remove_prefix(std::min(piece, bytes.size()))) {
    decoder.Append(bytes.substr(0, piece));
    while (true) {
      auto frame = decoder.Next();
      if (!frame.ok()) return frame.status();
      if (!frame->has_value()) break;
      frames.push_back(**std::move(frame));
    }
  }
  return frames;
}

TEST(FrameTest, TheHeaderHasTenBytesBigEndian) {
  std::string out;
  AppendFrame(out, 0x01020305, kRequest, kRemoteOpen, "abc");
  EXPECT_EQ(out, std::string("\0\0\0\x03\x01\x02\x03\x05\x01\x02"
                             "abc",
                             13));
}

TEST(FrameTest, FramesArriveWholeFromPiecesOfAnySize) {
  std::string wire;
  AppendFrame(wire, 1, kRequest, 0, "hello");
  AppendFrame(wire, 3, kData, kRemoteClosed | kNoData, "");
  AppendFrame(wire, 5, kResponse, 0, std::string(3000, 'x'));
  AppendFrame(wire, 7, 200, 255, "future");
  for (size_t piece : {size_t{1}, size_t{2}, size_t{9}, size_t{10}, size_t{11}, size_t{1000}, wire.size()}) {
    FrameDecoder decoder;
    auto frames = Decode(decoder, wire, piece);
    ASSERT_TRUE(frames.ok()) << frames.status();
    ASSERT_EQ(frames->size(), 4u) << "in pieces of " << piece;
    EXPECT_EQ((*frames)[0].data, "hello");
    EXPECT_EQ((*frames)[1].flags, kRemoteClosed | kNoData);
    EXPECT_EQ((*frames)[2].stream, 5u);
    EXPECT_EQ((*frames)[2].data.size(), 3000u);
    EXPECT_EQ((*frames)[3].type, 200);
    EXPECT_EQ(decoder.buffered_bytes(), 0u);
  }
}

TEST(FrameTest, AnOversizedFrameIsReportedAtOnceAndSkipped) {
  const uint32_t claimed = kMaxDataBytes + 1;
  std::string wire("\0\x40\0\x01\0\0\0\x09\x01\0", 10);
  wire += std::string(claimed, '\xff');
  AppendFrame(wire, 11, kRequest, 0, "next");
  for (size_t piece : {size_t{7}, size_t{4096}, wire.size()}) {
    FrameDecoder decoder;
    auto frames = Decode(decoder, wire, piece);
    ASSERT_TRUE(frames.ok()) << frames.status();
    ASSERT_EQ(frames->size(), 2u);
    EXPECT_EQ((*frames)[0].oversized_bytes, claimed);
    EXPECT_EQ((*frames)[0].stream, 9u);
    EXPECT_EQ((*frames)[0].data, "");
    EXPECT_EQ((*frames)[1].data, "next");
  }
}

TEST(FrameTest, TheLargestFrameIsNoneTooLarge) {
  std::string wire;
  AppendFrame(wire, 1, kRequest, 0, std::string(kMaxDataBytes, 'y'));
  FrameDecoder decoder;
  auto frames = Decode(decoder, wire, 65536);
  ASSERT_TRUE(frames.ok());
  ASSERT_EQ(frames->size(), 1u);
  EXPECT_EQ((*frames)[0].oversized_bytes, 0u);
  EXPECT_EQ((*frames)[0].data.size(), kMaxDataBytes);
}

TEST(FrameTest, RubbishIsRefused) {
  FrameDecoder decoder;
  EXPECT_EQ(Decode(decoder, "GET / HTTP/1.1\r\n", 100).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace gantry::ttrpc
