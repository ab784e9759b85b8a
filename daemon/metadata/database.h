// The daemon's metadata: the record store with its schema, and what all kinds of objects share.
//
// The classes of this room (Namespaces, Containers, Images, Leases, ContentStore) are thin views on one
// Database and may be made and dropped freely while it lives. They answer as containerd's package
// core/metadata does: NOT_FOUND, ALREADY_EXISTS, FAILED_PRECONDITION and INVALID_ARGUMENT in the same cases.
//
// Every change is one batch, synced before the call returns. Whoever makes an object under a lease puts the
// lease's reference into the same batch.
//
// Thread-safe. Calls block on the disk: not for an event loop.
#ifndef GANTRY_DAEMON_METADATA_DATABASE_H_
#define GANTRY_DAEMON_METADATA_DATABASE_H_

#include <google/protobuf/message_lite.h>
#include <google/protobuf/timestamp.pb.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "content/kv/kv.h"

namespace gantry::metadata {

// In whose name a call is made: the namespace, and the lease that shall hold what is made (empty: none).
struct Scope {
  std::string ns;
  std::string lease;
};

// What a change means to the garbage collector.
enum class Change {
  kAddition,  // of objects or references
  kRemoval,   // something may have become garbage
};

class Database {
 public:
  // Opens or makes the record store at `path`, and brings it to this program's schema version.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path);

  kv::Database* records() const { return records_.get(); }

  // Writes the batch, then tells the observer.
  absl::Status Commit(const kv::WriteBatch& batch, Change change,
                      kv::Durability durability = kv::Durability::kSynced);

  // Tells the observer of a change that was written elsewhere (snapshots).
  void Notify(Change change);
  // Called after every change, on the changing thread; must not block. One observer at most; set it before
  // the first change.
  void Observe(std::function<void(Change)> observer) { observer_ = std::move(observer); }

  // How many removals there were since the start: tells the collector whether files may have become garbage.
  int64_t removals() const { return removals_.load(); }

  // Using a namespace makes it: adds its record to the batch unless it is there. The caller holds a
  // RecordLock until the batch is written.
  absl::Status EnsureNamespace(absl::string_view ns, kv::WriteBatch* batch);
  // For the deletion of a namespace, under LockExclusively.
  void ForgetNamespace(absl::string_view ns);

 private:
  explicit Database(std::unique_ptr<kv::Database> records) : records_(std::move(records)) {}

  const std::unique_ptr<kv::Database> records_;
  std::function<void(Change)> observer_;
  std::atomic<int64_t> removals_{0};
  std::mutex mutex_;
  std::set<std::string, std::less<>> known_namespaces_;  // whose record was seen
};

// Reads and decodes one record. NOT_FOUND as from kv; DATA_LOSS naming the key if it cannot be decoded.
absl::Status ReadRecord(const kv::Database& records, absl::string_view family, absl::string_view key,
                        google::protobuf::MessageLite* message);
// Decodes the value of a record that was read.
absl::Status ParseRecord(absl::string_view key, absl::string_view value,
                         google::protobuf::MessageLite* message);
std::string Encode(const google::protobuf::MessageLite& message);

google::protobuf::Timestamp ToProto(absl::Time time);
absl::Time FromProto(const google::protobuf::Timestamp& time);
google::protobuf::Timestamp Now();

// Walks the records with `prefix` that come after `position` (a whole key; empty: from the start) until
// `visit` returns false. `position` becomes the last key seen, or empty when the walk reached the end; so a
// stream to a slow client holds no snapshot between its messages.
absl::Status WalkRecords(
    const kv::Database& records, absl::string_view family, absl::string_view prefix, std::string* position,
    const std::function<absl::StatusOr<bool>(absl::string_view key, absl::string_view value)>& visit);

}  // namespace gantry::metadata

#endif  // GANTRY_DAEMON_METADATA_DATABASE_H_
