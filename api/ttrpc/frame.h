// ttrpc's framing: a header of ten bytes, then up to 4 MiB of data. Pure functions and a pure decoder: no
// I/O.
//
//   length u32 BE | stream u32 BE | type u8 | flags u8 | data
//
// Source: PROTOCOL.md of containerd/ttrpc, version 1.2. Thread safety: none needed for the functions; a
// FrameDecoder belongs to one thread.
#ifndef GANTRY_API_TTRPC_FRAME_H_
#define GANTRY_API_TTRPC_FRAME_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::ttrpc {

inline constexpr size_t kHeaderBytes = 10;
inline constexpr size_t kMaxDataBytes = 4 << 20;

// A receiver ignores frames of other types: they are the protocol's room to grow.
inline constexpr uint8_t kRequest = 1;
inline constexpr uint8_t kResponse = 2;
inline constexpr uint8_t kData = 3;

inline constexpr uint8_t kRemoteClosed = 1;  // the sender sends no more data on this stream
inline constexpr uint8_t kRemoteOpen = 2;    // on a request: data follows
inline constexpr uint8_t kNoData = 4;        // on a data frame: it carries no message, not even an empty one

struct Frame {
  uint32_t stream = 0;
  uint8_t type = 0;
  uint8_t flags = 0;
  std::string data;
  // Length that the header claimed, when it is above kMaxDataBytes: `data` is empty then, and what the sender
  // still sends of it is skipped. 0 otherwise.
  uint32_t oversized_bytes = 0;
};

// Appends header and `data` to `out`. `data` must not be longer than kMaxDataBytes.
void AppendFrame(std::string& out, uint32_t stream, uint8_t type, uint8_t flags, absl::string_view data);

// Cuts a stream of bytes, which may come in pieces of any size, into frames.
//
//   decoder.Append(bytes);
//   while (true) { auto frame = decoder.Next(); if (!frame.ok()) close; if (!*frame) break; use **frame; }
//
// Memory follows what has arrived, never what a header claims, and is given back when no partial frame is
// held.
class FrameDecoder {
 public:
  void Append(absl::string_view bytes);

  // The next whole frame, or nothing until more bytes come. An oversized frame is reported as soon as its
  // header is there. INVALID_ARGUMENT: the bytes are no ttrpc (the header's first byte, reserved as 0, is not
  // 0); the decoder is of no use after that.
  absl::StatusOr<std::optional<Frame>> Next();

  // Bytes held for a frame that is not whole yet.
  size_t buffered_bytes() const { return buffer_.size() - start_; }

 private:
  void Consume(size_t bytes);

  std::string buffer_;
  size_t start_ = 0;         // of what is not consumed yet
  uint32_t skip_bytes_ = 0;  // rest of an oversized frame
};

}  // namespace gantry::ttrpc

#endif  // GANTRY_API_TTRPC_FRAME_H_
