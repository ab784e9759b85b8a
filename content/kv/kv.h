// The record store: ordered keys in named families, changed by atomic batches, read through consistent
// snapshots. RocksDB stands behind it, and nothing of RocksDB shows here.
//
// How the daemon's rooms share one Database:
//
//   auto lock = db->Lock({{family, key}, ...});            // 1. whatever the decision depends on
//   db->Get(family, key, &value) ...                       // 2. read, decide
//   kv::WriteBatch batch; batch.Put(family, key, value);   // 3. all changes that must agree, of any room
//   db->Write(batch, kv::Durability::kSynced);             // 4. one append and one sync
//
// Locks guard only against other writers of the same records: readers never lock, and writers of different
// records sync together (RocksDB's group commit). Whoever decides from what it read and then writes holds a
// RecordLock over both steps; this also keeps the garbage collector's sweep (LockExclusively) out of the
// middle.
//
// Errors: a failed write leaves nothing of the batch. On a full disk batches that put something are refused
// (RESOURCE_EXHAUSTED), and those that only delete go on; once there is space, everything does.
// A corrupted file is DATA_LOSS and names the file.
//
// Thread-safe, but for WriteBatch and Iterator, which one thread owns.
#ifndef GANTRY_CONTENT_KV_KV_H_
#define GANTRY_CONTENT_KV_KV_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::kv {

enum class Durability {
  kVolatile,  // survives the death of the process, not a power cut (until the next synced write)
  kSynced,    // on the disk when Write returns
};

// The name of one record.
struct RecordName {
  std::string family;
  std::string key;
  friend bool operator==(const RecordName&, const RecordName&) = default;
};

// Changes that become visible and durable together. A later change of a key wins over an earlier one.
class WriteBatch {
 public:
  struct Change {
    std::string family;
    std::string key;
    std::optional<std::string> value;  // absent: the record is deleted
  };

  void Put(absl::string_view family, absl::string_view key, absl::string_view value) {
    changes_.push_back({std::string(family), std::string(key), std::string(value)});
  }
  // Deleting a record that is not there is no error.
  void Delete(absl::string_view family, absl::string_view key) {
    changes_.push_back({std::string(family), std::string(key), std::nullopt});
  }
  // Adds the changes of `other` after those already here.
  void Append(const WriteBatch& other) {
    changes_.insert(changes_.end(), other.changes_.begin(), other.changes_.end());
  }
  void Clear() { changes_.clear(); }
  bool empty() const { return changes_.empty(); }
  const std::vector<Change>& changes() const { return changes_; }

 private:
  std::vector<Change> changes_;
};

// Walks the records of one family whose keys start with a prefix, in the order of their bytes.
//   for (auto it = snapshot->Scan(family, prefix); it->Valid(); it->Next()) ...; then check it->status().
class Iterator {
 public:
  virtual ~Iterator() = default;
  virtual bool Valid() const = 0;
  virtual void Next() = 0;
  // Goes to the first record at or after `key` that has the prefix.
  virtual void Seek(absl::string_view key) = 0;
  // Valid until the next call of Next or Seek.
  virtual absl::string_view key() const = 0;
  virtual absl::string_view value() const = 0;
  // OK, or why the walk ended early.
  virtual absl::Status status() const = 0;
};

// The database as it stood at one instant. It must go before its Database. Old versions of records are kept
// while a snapshot lives: don't keep one across a wait for a client.
class Snapshot {
 public:
  virtual ~Snapshot() = default;
  // The value; NOT_FOUND if there is no such record.
  virtual absl::StatusOr<std::string> Get(absl::string_view family, absl::string_view key) const = 0;
  // An unknown family gives an iterator whose status is INVALID_ARGUMENT. The iterator may outlive neither
  // the snapshot nor the database.
  virtual std::unique_ptr<Iterator> Scan(absl::string_view family, absl::string_view prefix) const = 0;
};

// Holds some records against other writers until it is destroyed, by the thread that made it. A thread holds
// at most one at a time (a second could deadlock): name all records in one call. The exception: Lock by the
// thread that holds LockExclusively gives an empty lock, as everything is already held. Movable.
class RecordLock {
 public:
  class Impl;
  RecordLock();
  explicit RecordLock(std::unique_ptr<Impl> impl);
  RecordLock(RecordLock&&) noexcept;
  RecordLock& operator=(RecordLock&&) noexcept;
  ~RecordLock();

 private:
  std::unique_ptr<Impl> impl_;
};

// While it lives, collects the names of all records that are put (not deleted): what the garbage collector
// must look at again after it marked from a snapshot. Start it before taking the snapshot.
class ChangeRecorder {
 public:
  virtual ~ChangeRecorder() = default;
  // What was put since the last call.
  virtual std::vector<RecordName> Take() = 0;
};

struct Options {
  std::string path;                   // a directory, made (0700) if it is missing; its parent must be there
  std::vector<std::string> families;  // all that the program uses; missing ones are made
  size_t write_buffer_bytes = 2 << 20;
  size_t block_cache_bytes = 4 << 20;
};

class Database {
 public:
  // Opens or makes the database. FAILED_PRECONDITION, naming the path: another process has it open.
  // DATA_LOSS: its files are damaged. A write cut short by a crash is dropped silently: it was never
  // acknowledged.
  static absl::StatusOr<std::unique_ptr<Database>> Open(Options options);

  virtual ~Database() = default;

  // The value now; NOT_FOUND if there is no such record, INVALID_ARGUMENT for an unknown family.
  virtual absl::StatusOr<std::string> Get(absl::string_view family, absl::string_view key) const = 0;
  virtual std::unique_ptr<Snapshot> NewSnapshot() const = 0;
  // Scan over a snapshot that the iterator owns.
  virtual std::unique_ptr<Iterator> Scan(absl::string_view family, absl::string_view prefix) const = 0;

  // Applies the whole batch or nothing. Writes that run at the same time share their sync.
  virtual absl::Status Write(const WriteBatch& batch, Durability durability) = 0;

  // Waits for other holders of any of these records and for a holder of LockExclusively. The records need not
  // exist.
  virtual RecordLock Lock(std::vector<RecordName> records) = 0;
  // Waits for all RecordLocks and keeps new ones waiting: for changes that depend on everything (the sweep
  // of the garbage collector, the deletion of a namespace). Hold it for milliseconds.
  virtual RecordLock LockExclusively() = 0;

  virtual std::unique_ptr<ChangeRecorder> RecordChanges() = 0;
};

}  // namespace gantry::kv

#endif  // GANTRY_CONTENT_KV_KV_H_
