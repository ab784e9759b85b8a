// The blob store: immutable bytes named by their digest, and the ingests that become blobs.
//
// Vocabulary
//   blob    bytes whose digest is their name. Once visible it never changes and is durable: it survives a
//           power cut.
//   ingest  a blob being written, named by its ref (any string of the writer's choice). It survives the death
//           of its writer and of the daemon: opening its ref again goes on where it stopped.
//   writer  the one holder of an ingest. A second writer of the same ref is refused (UNAVAILABLE) until the
//           first is gone.
//
// Life of an ingest:  OpenWriter -> Write* -> Commit  (the blob is visible, the ingest gone)
//                                          -> destroy (the ingest waits for the next OpenWriter or Abort)
//
// The store knows no namespaces, no labels and no garbage collection: daemon/metadata lays those over it.
//
// On disk (containerd's own layout, so that its tools and backups work), below the store's root, 0700:
//   blobs/<algorithm>/<hex>                                     0444
//   ingest/<sha256 of the ref>/{ref,data,startedat,updatedat,total}
//
// Errors: NOT_FOUND, ALREADY_EXISTS, INVALID_ARGUMENT, FAILED_PRECONDITION (size or digest differ from what
// was promised), OUT_OF_RANGE (an offset), UNAVAILABLE (the ref is locked), RESOURCE_EXHAUSTED (disk full),
// DATA_LOSS (a file that is not what it should be). Every message names the blob or ref.
//
// Store is thread-safe; a Writer belongs to one thread at a time; a ReaderAt is thread-safe. All calls may
// block on the disk: not for an event loop.
#ifndef GANTRY_CONTENT_STORE_H_
#define GANTRY_CONTENT_STORE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "content/digest.h"

namespace gantry::content {

struct BlobInfo {
  Digest digest;
  int64_t size_bytes = 0;
  absl::Time created;
};

struct IngestStatus {
  std::string ref;
  int64_t offset = 0;                             // bytes written so far
  int64_t total_bytes = 0;                        // what the writer promised; 0: it didn't say
  std::optional<Digest> expected = std::nullopt;  // only the store of a namespace knows it
  absl::Time started;
  absl::Time updated;
};

// An open blob. It stays readable even if the blob is deleted meanwhile.
class ReaderAt {
 public:
  virtual ~ReaderAt() = default;
  virtual int64_t size_bytes() const = 0;
  // Reads up to `size` bytes at `offset` into `buffer`; fewer than `size` only at the end, 0 at or after it.
  virtual absl::StatusOr<size_t> ReadAt(char* buffer, size_t size, int64_t offset) const = 0;
};

struct WriterOptions {
  std::string ref;                                // must not be empty
  int64_t total_bytes = 0;                        // the size that the blob will have, if known
  std::optional<Digest> expected = std::nullopt;  // the digest that it will have, if known
};

// Destroying a writer that has not committed keeps the ingest, and unlocks its ref. It must go before its store.
class Writer {
 public:
  virtual ~Writer() = default;

  // Appends. After an error only Status, Truncate and destruction are of use.
  virtual absl::Status Write(absl::string_view data) = 0;
  // Forgets all that was written; only `size` 0 is possible (INVALID_ARGUMENT otherwise).
  virtual absl::Status Truncate(int64_t size) = 0;
  virtual absl::StatusOr<IngestStatus> Status() const = 0;
  // The digest of what was written so far.
  virtual Digest CurrentDigest() const = 0;

  // Makes the blob visible and durable, and ends the ingest. `size` 0 and no `expected` mean "not known";
  // where given, a mismatch is FAILED_PRECONDITION, the blob does not appear, and the ingest stays.
  // ALREADY_EXISTS: the blob was there; the ingest is gone. The writer is finished in every case.
  virtual absl::StatusOr<BlobInfo> Commit(int64_t size, const std::optional<Digest>& expected) = 0;
};

class Store {
 public:
  virtual ~Store() = default;

  // NOT_FOUND unless the blob is there.
  virtual absl::StatusOr<BlobInfo> Info(const Digest& digest) const = 0;
  virtual absl::StatusOr<std::unique_ptr<ReaderAt>> Open(const Digest& digest) const = 0;
  // Calls `visit` for every blob, in no order, until it returns an error, which is returned.
  virtual absl::Status Walk(const std::function<absl::Status(const BlobInfo&)>& visit) const = 0;
  // NOT_FOUND unless the blob was there. Readers of it go on reading.
  virtual absl::Status Delete(const Digest& digest) = 0;

  // Begins an ingest, or goes on with the one of that ref. ALREADY_EXISTS if `expected` is a blob here.
  virtual absl::StatusOr<std::unique_ptr<Writer>> OpenWriter(const WriterOptions& options) = 0;
  // NOT_FOUND unless the ingest is there.
  virtual absl::StatusOr<IngestStatus> Status(absl::string_view ref) const = 0;
  virtual absl::StatusOr<std::vector<IngestStatus>> ListStatuses() const = 0;
  // Throws an ingest away. Its writer, if there is one, fails from then on. NOT_FOUND unless it is there.
  virtual absl::Status Abort(absl::string_view ref) = 0;
};

// The whole blob in memory: for manifests and configs. More than `limit_bytes` is RESOURCE_EXHAUSTED; bytes
// that don't hash to `digest` are DATA_LOSS.
absl::StatusOr<std::string> ReadBlob(const Store& store, const Digest& digest, int64_t limit_bytes);

}  // namespace gantry::content

#endif  // GANTRY_CONTENT_STORE_H_
