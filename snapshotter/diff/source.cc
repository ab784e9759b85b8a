#include "snapshotter/diff/source.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/sys/status.h"

namespace gantry::diff {
namespace {

// Large enough that a call's price vanishes, small enough to stay in the second-level cache.
constexpr size_t kBufferBytes = 256 << 10;

absl::Status UnexpectedEnd(uint64_t missing) {
  return absl::DataLossError(absl::StrCat("unexpected EOF: the layer is truncated, ", missing,
                                          " bytes of an entry are missing; pull or build it again"));
}

}  // namespace

absl::StatusOr<absl::string_view> StringSource::Next() {
  const absl::string_view out = rest_.substr(0, chunk_bytes_);
  rest_.remove_prefix(out.size());
  return out;
}

BlobSource::BlobSource(std::unique_ptr<content::ReaderAt> blob)
    : blob_(std::move(blob)), buffer_(new char[kBufferBytes]) {}

BlobSource::~BlobSource() = default;

absl::StatusOr<absl::string_view> BlobSource::Next() {
  const int64_t left = blob_->size_bytes() - offset_;
  if (left <= 0) return absl::string_view();
  GANTRY_ASSIGN_OR_RETURN(const size_t got, blob_->ReadAt(buffer_.get(), kBufferBytes, offset_));
  if (got == 0) return UnexpectedEnd(static_cast<uint64_t>(left));
  offset_ += static_cast<int64_t>(got);
  return absl::string_view(buffer_.get(), got);
}

absl::StatusOr<absl::string_view> DigestingSource::Next() {
  GANTRY_ASSIGN_OR_RETURN(absl::string_view out, from_->Next());
  size_bytes_ += out.size();
  digester_.Update(out);
  return out;
}

absl::Status InputBuffer::Refill() {
  if (!view_.empty()) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(view_, source_->Next());
  return absl::OkStatus();
}

absl::StatusOr<absl::string_view> InputBuffer::Take(size_t size) {
  GANTRY_RETURN_IF_ERROR(Refill());
  if (view_.empty()) return absl::string_view();
  if (view_.size() >= size) {
    const absl::string_view out = view_.substr(0, size);
    view_.remove_prefix(size);
    return out;
  }
  assembled_.clear();
  while (assembled_.size() < size) {
    GANTRY_RETURN_IF_ERROR(Refill());
    if (view_.empty()) return UnexpectedEnd(size - assembled_.size());
    const absl::string_view piece = view_.substr(0, size - assembled_.size());
    assembled_.append(piece.data(), piece.size());
    view_.remove_prefix(piece.size());
  }
  return absl::string_view(assembled_);
}

absl::StatusOr<absl::string_view> InputBuffer::TakeSome(size_t limit) {
  GANTRY_RETURN_IF_ERROR(Refill());
  const absl::string_view out = view_.substr(0, limit);
  view_.remove_prefix(out.size());
  return out;
}

absl::Status InputBuffer::Skip(uint64_t size) {
  while (size > 0) {
    GANTRY_ASSIGN_OR_RETURN(absl::string_view piece,
                            TakeSome(static_cast<size_t>(std::min<uint64_t>(size, 1 << 30))));
    if (piece.empty()) return UnexpectedEnd(size);
    size -= piece.size();
  }
  return absl::OkStatus();
}

absl::Status InputBuffer::Drain() {
  for (;;) {
    GANTRY_ASSIGN_OR_RETURN(absl::string_view piece, TakeSome(1 << 30));
    if (piece.empty()) return absl::OkStatus();
  }
}

}  // namespace gantry::diff
