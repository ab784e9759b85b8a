// The Snapshotter over a record store and a Driver: all rules of snapshotter.h that are not about directories.
//
// Order of things, so that no instant of a crash hurts:
//   Prepare   directories, then the record. Directories without a record are discarded at Open.
//   Commit    the tree to the disk (syncfs), then the record.
//   Remove    the record, then a rename into the trash, then deletion in the background.
// A power cut may lose the directories of an active snapshot whose record it kept: they are made again, empty,
// at Open.
#ifndef GANTRY_SNAPSHOTTER_RECORDS_RECORDED_SNAPSHOTTER_H_
#define GANTRY_SNAPSHOTTER_RECORDS_RECORDED_SNAPSHOTTER_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "content/kv/kv.h"
#include "snapshotter/records/driver.h"
#include "snapshotter/records/record.h"
#include "snapshotter/snapshotter.h"

namespace gantry::snapshotter {

// Runs a piece of blocking work soon, on a thread that is not the caller's. Without one, it is done at once.
using Executor = std::function<void(std::function<void()>)>;

struct RecordedOptions {
  std::string name;            // of the driver: "overlayfs", "native"
  kv::Database* db = nullptr;  // outlives the snapshotter; has the family kFamily
  std::unique_ptr<Driver> driver;
  Executor background;
  bool sync_commits = true;  // false: a committed layer may be incomplete after a power cut (for benchmarks)
};

class RecordedSnapshotter final : public Snapshotter {
 public:
  // Cleans up what a crash left.
  static absl::StatusOr<std::unique_ptr<RecordedSnapshotter>> Open(RecordedOptions options);
  ~RecordedSnapshotter() override;

  absl::StatusOr<Info> Stat(absl::string_view key) override;
  absl::StatusOr<Info> Update(const Info& info, const std::vector<std::string>& fieldpaths) override;
  absl::StatusOr<Usage> GetUsage(absl::string_view key) override;
  absl::StatusOr<std::vector<Mount>> Mounts(absl::string_view key) override;
  absl::StatusOr<std::vector<Mount>> Prepare(absl::string_view key, absl::string_view parent,
                                             const MutationOptions& options) override;
  absl::StatusOr<std::vector<Mount>> View(absl::string_view key, absl::string_view parent,
                                          const MutationOptions& options) override;
  absl::Status Commit(absl::string_view name, absl::string_view key, const MutationOptions& options,
                      absl::string_view parent) override;
  absl::Status Remove(absl::string_view key, const Companion& companion) override;
  absl::Status Walk(absl::string_view prefix, const std::function<absl::Status(const Info&)>& visit) override;
  absl::Status Cleanup() override;
  absl::Status Close() override;

 private:
  class ParentPin;

  explicit RecordedSnapshotter(RecordedOptions options);

  absl::Status Recover();
  absl::StatusOr<Record> Get(absl::string_view key) const;
  absl::Status CheckFree(absl::string_view key) const;
  Info Told(const Record& record) const;
  absl::StatusOr<std::vector<Mount>> Create(Kind kind, absl::string_view key, absl::string_view parent,
                                            const MutationOptions& options);
  // Makes `child` stand on `parent`, a name. INVALID_ARGUMENT unless that is committed.
  absl::Status StandOn(absl::string_view parent, Record* child) const;
  void PutRecord(const Record& record, kv::WriteBatch* batch) const;
  kv::RecordLock Lock(std::vector<absl::string_view> keys, const Companion& companion);
  absl::Status Finish(kv::WriteBatch* batch, const Companion& companion);
  bool HasChildren(uint64_t id) const;
  void DiscardLater(uint64_t id);
  absl::Status CheckOpen() const;

  const RecordedOptions options_;
  std::atomic<uint64_t> next_id_{1};
  std::atomic<bool> closed_{false};

  absl::Mutex mutex_;
  // Parents of snapshots that are just being made, and how many each; and snapshots that are just being removed.
  // They keep Remove and Prepare apart without making the Prepares on one image wait for each other's sync.
  absl::flat_hash_map<uint64_t, int> pinned_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<uint64_t> removing_ ABSL_GUARDED_BY(mutex_);
  int background_work_ ABSL_GUARDED_BY(mutex_) = 0;
  bool emptying_queued_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace gantry::snapshotter

#endif  // GANTRY_SNAPSHOTTER_RECORDS_RECORDED_SNAPSHOTTER_H_
