// Where the bytes of a layer come from: a chain of sources, each pulling from the one before it.
//
//   BlobSource ▶ Decompress() ▶ DigestingSource (the diff id) ▶ InputBuffer ▶ TarReader
//
// A source hands out views of its own buffers, so that a byte is moved only where it must be, and nothing holds
// more than a few buffers at once however large the layer is.
#ifndef GANTRY_SNAPSHOTTER_DIFF_SOURCE_H_
#define GANTRY_SNAPSHOTTER_DIFF_SOURCE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "content/store.h"

namespace gantry::diff {

// Not thread-safe. After an error or the end every further call returns the same.
class Source {
 public:
  virtual ~Source() = default;

  // The next bytes, as many as is convenient; empty only at the end. Valid until the next call.
  virtual absl::StatusOr<absl::string_view> Next() = 0;
};

// Over memory, which must outlive it, in pieces of `chunk_bytes`: for tests and fuzzers.
class StringSource : public Source {
 public:
  explicit StringSource(absl::string_view data, size_t chunk_bytes = 1 << 16)
      : rest_(data), chunk_bytes_(chunk_bytes) {}
  absl::StatusOr<absl::string_view> Next() override;

 private:
  absl::string_view rest_;
  size_t chunk_bytes_;
};

// Over a blob of the content store. Fewer bytes than it promised are DATA_LOSS.
class BlobSource : public Source {
 public:
  explicit BlobSource(std::unique_ptr<content::ReaderAt> blob);
  ~BlobSource() override;
  absl::StatusOr<absl::string_view> Next() override;

 private:
  std::unique_ptr<content::ReaderAt> blob_;
  int64_t offset_ = 0;
  std::unique_ptr<char[]> buffer_;
};

// Passes another source's bytes on, and knows their SHA-256 and number.
class DigestingSource : public Source {
 public:
  explicit DigestingSource(std::unique_ptr<Source> from) : from_(std::move(from)) {}
  absl::StatusOr<absl::string_view> Next() override;

  // Of what has passed so far.
  content::Digest Digest() const { return digester_.Current(); }
  uint64_t size_bytes() const { return size_bytes_; }

 private:
  std::unique_ptr<Source> from_;
  content::Digester digester_;
  uint64_t size_bytes_ = 0;
};

// Reads whole pieces out of a source. Not thread-safe.
class InputBuffer {
 public:
  explicit InputBuffer(Source* source) : source_(source) {}

  // Exactly `size` bytes, in one view that is valid until the next call. Empty at a clean end, that is, when no
  // byte is left; DATA_LOSS ("unexpected EOF") when some but not all are there.
  absl::StatusOr<absl::string_view> Take(size_t size);
  // At least one and at most `limit` bytes, without copying; empty at the end.
  absl::StatusOr<absl::string_view> TakeSome(size_t limit);
  // DATA_LOSS when the end comes earlier.
  absl::Status Skip(uint64_t size);
  // Reads and drops everything up to the end.
  absl::Status Drain();

 private:
  absl::Status Refill();  // makes view_ not empty, except at the end

  Source* source_;
  absl::string_view view_;
  std::string assembled_;
};

}  // namespace gantry::diff

#endif  // GANTRY_SNAPSHOTTER_DIFF_SOURCE_H_
