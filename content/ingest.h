// Ingests on disk: the directory of one, the lock on its ref, and the Writer over both. Private to content/;
// store.h says what the outside sees.
#ifndef GANTRY_CONTENT_INGEST_H_
#define GANTRY_CONTENT_INGEST_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "content/shared_sync.h"
#include "content/store.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::content {

class RefLocks;

// Holds one ref until destroyed. Movable; its RefLocks must outlive it.
class RefLock {
 public:
  RefLock(RefLocks* locks, std::string ref) : locks_(locks), ref_(std::move(ref)) {}
  RefLock(RefLock&& other) noexcept
      : locks_(std::exchange(other.locks_, nullptr)), ref_(std::move(other.ref_)) {}
  RefLock& operator=(RefLock&&) = delete;
  ~RefLock();

 private:
  RefLocks* locks_;
  std::string ref_;
};

// Thread-safe.
class RefLocks {
 public:
  // UNAVAILABLE, naming the ref, while somebody else holds it: clients wait and try again on that code.
  absl::StatusOr<RefLock> TryLock(const std::string& ref);

 private:
  friend class RefLock;
  std::mutex mutex_;
  std::set<std::string> held_;
};

// The name of the directory of the ingest `ref`.
std::string IngestName(absl::string_view ref);

// From the files of the ingest directory `name`. NOT_FOUND if it is not there or not whole.
absl::StatusOr<IngestStatus> ReadIngestStatus(int ingests, const std::string& name);

// An ingest whose ref the caller has locked.
struct Ingest {
  // Makes it; or finds it, and hashes anew what it holds, as nothing says that those bytes reached the disk
  // before the last crash. One that cannot be understood is begun again from nothing. A total other than the
  // one of before begins again, too.
  static absl::StatusOr<Ingest> OpenOrCreate(int ingests, const std::string& ref, int64_t total_bytes,
                                             Algorithm algorithm);

  sys::UniqueFd data;
  IngestStatus status;
  Digester digester;
};

// `ingests` stays the caller's. `blobs` gives the directory for blobs of an algorithm.
std::unique_ptr<Writer> MakeIngestWriter(RefLock lock, Ingest ingest, int ingests,
                                         std::function<SharedSync*(Algorithm)> blobs);

}  // namespace gantry::content

#endif  // GANTRY_CONTENT_INGEST_H_
