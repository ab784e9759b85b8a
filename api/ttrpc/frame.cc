#include "api/ttrpc/frame.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_format.h"

namespace gantry::ttrpc {
namespace {

// An idle connection keeps no more than this.
constexpr size_t kIdleCapacityBytes = 512;

uint32_t ReadBigEndian(const char* bytes) {
  const auto* b = reinterpret_cast<const unsigned char*>(bytes);
  return uint32_t{b[0]} << 24 | uint32_t{b[1]} << 16 | uint32_t{b[2]} << 8 | b[3];
}

void AppendBigEndian(std::string& out, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift & 0xff));
}

}  // namespace

void AppendFrame(std::string& out, uint32_t stream, uint8_t type, uint8_t flags, absl::string_view data) {
  out.reserve(out.size() + kHeaderBytes + data.size());
  AppendBigEndian(out, static_cast<uint32_t>(data.size()));
  AppendBigEndian(out, stream);
  out.push_back(static_cast<char>(type));
  out.push_back(static_cast<char>(flags));
  out.append(data.data(), data.size());
}

void FrameDecoder::Append(absl::string_view bytes) {
  const size_t skipped = std::min<size_t>(skip_bytes_, bytes.size());
  skip_bytes_ -= static_cast<uint32_t>(skipped);
  bytes.remove_prefix(skipped);
  buffer_.append(bytes.data(), bytes.size());
}

void FrameDecoder::Consume(size_t bytes) {
  start_ += bytes;
  if (start_ < buffer_.size()) return;
  start_ = 0;
  buffer_.clear();
  if (buffer_.capacity() > kIdleCapacityBytes) buffer_.shrink_to_fit();
}

absl::StatusOr<std::optional<Frame>> FrameDecoder::Next() {
  if (buffered_bytes() < kHeaderBytes) {
    // Between frames is the one moment when moving what is left is cheap.
    buffer_.erase(0, std::exchange(start_, 0));
    return std::nullopt;
  }
  const char* header = buffer_.data() + start_;
  if (header[0] != 0) {
    return absl::InvalidArgumentError(
        absl::StrFormat("ttrpc: the peer does not speak ttrpc: a frame's first byte is %#04x, must be 0",
                        static_cast<unsigned char>(header[0])));
  }
  const uint32_t length = ReadBigEndian(header);
  Frame frame;
  frame.stream = ReadBigEndian(header + 4);
  frame.type = static_cast<uint8_t>(header[8]);
  frame.flags = static_cast<uint8_t>(header[9]);
  if (length > kMaxDataBytes) {
    frame.oversized_bytes = length;
    const size_t here = std::min<size_t>(length, buffered_bytes() - kHeaderBytes);
    skip_bytes_ = length - static_cast<uint32_t>(here);
    Consume(kHeaderBytes + here);
    return frame;
  }
  if (buffered_bytes() < kHeaderBytes + length) return std::nullopt;
  frame.data.assign(header + kHeaderBytes, length);
  Consume(kHeaderBytes + length);
  return frame;
}

}  // namespace gantry::ttrpc
