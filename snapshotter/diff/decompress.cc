#include "snapshotter/diff/decompress.h"

#include <isa-l/igzip_lib.h>
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>

#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/sys/status.h"

namespace gantry::diff {
namespace {

constexpr size_t kOutputBytes = 256 << 10;
constexpr int kZstdWindowLog = 27;  // 128 MiB, the format's recommended limit for decoders

// Hands out what was read to look at the magic number, then the rest.
class PrefixedSource : public Source {
 public:
  PrefixedSource(std::string head, std::unique_ptr<Source> from)
      : head_(std::move(head)), from_(std::move(from)) {}

  absl::StatusOr<absl::string_view> Next() override {
    if (!given_ && !head_.empty()) {
      given_ = true;
      return absl::string_view(head_);
    }
    return from_->Next();
  }

 private:
  std::string head_;
  std::unique_ptr<Source> from_;
  bool given_ = false;
};

class GzipSource : public Source {
 public:
  explicit GzipSource(std::unique_ptr<Source> from)
      : from_(std::move(from)), output_(new unsigned char[kOutputBytes]) {
    isal_inflate_init(&state_);
    state_.crc_flag = ISAL_GZIP;
  }

  absl::StatusOr<absl::string_view> Next() override {
    for (;;) {
      if (state_.avail_in == 0 && !input_ended_) GANTRY_RETURN_IF_ERROR(Refill());
      if (between_members_) {
        GANTRY_ASSIGN_OR_RETURN(bool more, StartMember());
        if (!more && input_ended_) return absl::string_view();
        if (!more) continue;
      }
      state_.next_out = output_.get();
      state_.avail_out = kOutputBytes;
      const uint32_t had = state_.avail_in;
      const int result = isal_inflate(&state_);
      if (result != ISAL_DECOMP_OK) return Damaged(result);
      if (state_.block_state == ISAL_BLOCK_FINISH) between_members_ = true;
      const size_t made = kOutputBytes - state_.avail_out;
      if (made > 0) return absl::string_view(reinterpret_cast<char*>(output_.get()), made);
      if (!between_members_ && input_ended_ && state_.avail_in == had) {
        return absl::DataLossError("gzip: unexpected EOF: the compressed layer is truncated");
      }
    }
  }

 private:
  absl::Status Refill() {
    GANTRY_ASSIGN_OR_RETURN(absl::string_view piece, from_->Next());
    input_ended_ = piece.empty();
    state_.next_in = reinterpret_cast<uint8_t*>(const_cast<char*>(piece.data()));
    state_.avail_in = static_cast<uint32_t>(piece.size());
    return absl::OkStatus();
  }

  // Skips padding; true when another member begins at the input's next byte.
  absl::StatusOr<bool> StartMember() {
    while (state_.avail_in > 0 && *state_.next_in == 0) {
      ++state_.next_in;
      --state_.avail_in;
    }
    if (state_.avail_in == 0) return false;
    uint8_t* const next = state_.next_in;
    const uint32_t left = state_.avail_in;
    isal_inflate_reset(&state_);
    state_.crc_flag = ISAL_GZIP;
    state_.next_in = next;
    state_.avail_in = left;
    between_members_ = false;
    return true;
  }

  static absl::Status Damaged(int result) {
    if (result == ISAL_INCORRECT_CHECKSUM) {
      return absl::DataLossError("gzip: checksum mismatch: the compressed layer is damaged");
    }
    return absl::DataLossError(
        absl::StrCat("gzip: invalid data (igzip's code ", result, "): the compressed layer is damaged"));
  }

  std::unique_ptr<Source> from_;
  std::unique_ptr<unsigned char[]> output_;
  inflate_state state_;
  bool input_ended_ = false;
  bool between_members_ = false;
};

class ZstdSource : public Source {
 public:
  explicit ZstdSource(std::unique_ptr<Source> from)
      : from_(std::move(from)), stream_(ZSTD_createDStream()), output_(new char[kOutputBytes]) {
    if (stream_ != nullptr) ZSTD_DCtx_setParameter(stream_, ZSTD_d_windowLogMax, kZstdWindowLog);
  }
  ~ZstdSource() override { ZSTD_freeDStream(stream_); }

  absl::StatusOr<absl::string_view> Next() override {
    if (stream_ == nullptr) return absl::ResourceExhaustedError("zstd: no memory");
    for (;;) {
      if (input_.pos == input_.size && !output_was_full_) {
        GANTRY_ASSIGN_OR_RETURN(absl::string_view piece, from_->Next());
        if (piece.empty()) {
          if (inside_frame_) {
            return absl::DataLossError("zstd: unexpected EOF: the compressed layer is truncated");
          }
          return absl::string_view();
        }
        input_ = {piece.data(), piece.size(), 0};
      }
      ZSTD_outBuffer output = {output_.get(), kOutputBytes, 0};
      const size_t result = ZSTD_decompressStream(stream_, &output, &input_);
      if (ZSTD_isError(result)) {
        return absl::DataLossError(
            absl::StrCat("zstd: ", ZSTD_getErrorName(result), ": the compressed layer is damaged"));
      }
      inside_frame_ = result != 0;
      output_was_full_ = output.pos == output.size;
      if (output.pos > 0) return absl::string_view(output_.get(), output.pos);
    }
  }

 private:
  std::unique_ptr<Source> from_;
  ZSTD_DStream* stream_;
  std::unique_ptr<char[]> output_;
  ZSTD_inBuffer input_ = {nullptr, 0, 0};
  bool inside_frame_ = false;
  bool output_was_full_ = false;
};

}  // namespace

Compression DetectCompression(absl::string_view head) {
  if (absl::StartsWith(head, absl::string_view("\x1f\x8b\x08", 3))) return Compression::kGzip;
  if (absl::StartsWith(head, absl::string_view("\x28\xb5\x2f\xfd", 4))) return Compression::kZstd;
  // A skippable frame (RFC 8878, 3.1.2) may come first: 0x184D2A50 to 0x184D2A5F, little-endian.
  if (head.size() >= 4 && (static_cast<unsigned char>(head[0]) & 0xf0) == 0x50 &&
      head.substr(1, 3) == "\x2a\x4d\x18") {
    return Compression::kZstd;
  }
  return Compression::kNone;
}

absl::StatusOr<std::unique_ptr<Source>> Decompress(std::unique_ptr<Source> from) {
  std::string head;
  while (head.size() < 4) {
    GANTRY_ASSIGN_OR_RETURN(absl::string_view piece, from->Next());
    if (piece.empty()) break;
    head.append(piece.data(), piece.size());
  }
  const Compression compression = DetectCompression(head);
  auto whole = std::make_unique<PrefixedSource>(std::move(head), std::move(from));
  switch (compression) {
    case Compression::kGzip:
      return std::make_unique<GzipSource>(std::move(whole));
    case Compression::kZstd:
      return std::make_unique<ZstdSource>(std::move(whole));
    case Compression::kNone:
      break;
  }
  return std::unique_ptr<Source>(std::move(whole));
}

}  // namespace gantry::diff
