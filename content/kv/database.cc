#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <map>
#include <mutex>
#include <set>
#include <shared_mutex>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "content/kv/ballast.h"
#include "content/kv/kv.h"
#include "content/kv/locks.h"
#include "content/kv/log_space.h"
#include "rocksdb/cache.h"
#include "rocksdb/convenience.h"
#include "rocksdb/db.h"
#include "rocksdb/filter_policy.h"
#include "rocksdb/listener.h"
#include "rocksdb/table.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry::kv {
namespace {

// What growing batches leave in the log beside the ballast, for removals.
constexpr uint64_t kReservedBytes = 256 << 10;
// What opening writes: a manifest, the options, a log.
constexpr uint64_t kOpeningBytes = 384 << 10;
// With so much room what has failed in the background is tried again.
constexpr uint64_t kRecoveryBytes = 4 * Ballast::kBytes;

absl::string_view View(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }
rocksdb::Slice Slice(absl::string_view text) { return {text.data(), text.size()}; }

absl::Status FromRocks(const rocksdb::Status& status, absl::string_view path) {
  if (status.ok()) return absl::OkStatus();
  const std::string message = absl::StrCat("record store ", path, ": ", status.ToString());
  if (status.IsNotFound()) return absl::NotFoundError(message);
  if (status.IsNoSpace()) return absl::ResourceExhaustedError(message);
  if (status.IsCorruption()) return absl::DataLossError(message);
  if (status.IsIOError() && absl::StrContains(message, "lock")) {
    return absl::FailedPreconditionError(absl::StrCat(
        "record store ", path, " is open in another process: stop that one, or choose another --root"));
  }
  if (status.IsInvalidArgument()) return absl::InvalidArgumentError(message);
  return absl::InternalError(message);
}

// RocksDB would poll a full disk every five seconds, and refuse writes until then. We ask it to go on with the next
// write instead (see WriteOrRecover), which then succeeds as soon as there is space.
class ManualRecovery : public rocksdb::EventListener {
 public:
  std::atomic<bool> failed{false};  // a flush, say, and nothing went on since
  void OnBackgroundError(rocksdb::BackgroundErrorReason, rocksdb::Status*) override { failed = true; }
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason, rocksdb::Status, bool* auto_recovery) override {
    *auto_recovery = false;
  }
};

// RocksDB's warnings, into our log. Its own file would take space, and once a full disk cut a line of it off, the next
// line would end the process (the assertion of WriteOrRecover again).
class Warnings : public rocksdb::Logger {
 public:
  explicit Warnings(std::string path) : Logger(rocksdb::InfoLogLevel::WARN_LEVEL), path_(std::move(path)) {}
  using Logger::Logv;
  void Logv(const char* format, va_list arguments) override {
    Logv(rocksdb::InfoLogLevel::WARN_LEVEL, format, arguments);
  }
  void Logv(rocksdb::InfoLogLevel level, const char* format, va_list arguments) override {
    if (level < rocksdb::InfoLogLevel::WARN_LEVEL || level > rocksdb::InfoLogLevel::FATAL_LEVEL) return;
    char text[512];
    if (vsnprintf(text, sizeof text, format, arguments) < 0) return;
    if (level == rocksdb::InfoLogLevel::WARN_LEVEL) {
      log::Debug("record store", {{"path", path_}, {"warning", text}});
    } else {
      log::Warn("record store", {{"path", path_}, {"error", text}});
    }
  }
  // Lines that open a log: versions and all options.
  void LogHeader(const char*, va_list) override {}

 private:
  const std::string path_;
};

rocksdb::ColumnFamilyOptions FamilyOptions(const Options& options,
                                           const std::shared_ptr<rocksdb::Cache>& cache) {
  rocksdb::ColumnFamilyOptions family;
  family.write_buffer_size = options.write_buffer_bytes;
  family.max_write_buffer_number = 2;
  family.arena_block_size = 64 << 10;  // what an almost empty family costs in memory
  family.target_file_size_base = 4 << 20;
  family.max_bytes_for_level_base = 16 << 20;
  // Container specs are JSON, much alike: they shrink to a fifth.
  for (rocksdb::CompressionType type : rocksdb::GetSupportedCompressions()) {
    if (type == rocksdb::kLZ4Compression) family.compression = rocksdb::kLZ4Compression;
  }
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = cache;
  table.block_size = 8 << 10;
  table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
  table.cache_index_and_filter_blocks = true;  // bounds them by the block cache
  family.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return family;
}

rocksdb::DBOptions DatabaseOptions(rocksdb::Env* env, std::shared_ptr<ManualRecovery> recovery) {
  rocksdb::DBOptions options;
  options.env = env;
  options.create_if_missing = true;
  options.create_missing_column_families = true;
  options.paranoid_checks = true;
  options.max_background_jobs = 2;
  options.max_open_files = 64;
  options.max_file_opening_threads = 1;
  options.max_total_wal_size = 8 << 20;
  options.manifest_preallocation_size = 64 << 10;
  // An idle daemon does not wake up for statistics.
  options.stats_dump_period_sec = 0;
  options.stats_persist_period_sec = 0;
  options.skip_stats_update_on_db_open = true;
  options.listeners.push_back(std::move(recovery));
  options.avoid_flush_during_recovery = true;  // a start costs no new file
  return options;
}

// The first string after all that start with `prefix`; empty if there is none.
std::string PrefixEnd(absl::string_view prefix) {
  std::string end(prefix);
  while (!end.empty() && static_cast<unsigned char>(end.back()) == 0xff) end.pop_back();
  if (!end.empty()) end.back() = static_cast<char>(static_cast<unsigned char>(end.back()) + 1);
  return end;
}

class FailedIterator : public Iterator {
 public:
  explicit FailedIterator(absl::Status status) : status_(std::move(status)) {}
  bool Valid() const override { return false; }
  void Next() override {}
  void Seek(absl::string_view) override {}
  absl::string_view key() const override { return {}; }
  absl::string_view value() const override { return {}; }
  absl::Status status() const override { return status_; }

 private:
  absl::Status status_;
};

class RocksIterator : public Iterator {
 public:
  RocksIterator(rocksdb::DB* db, rocksdb::ColumnFamilyHandle* family, const rocksdb::Snapshot* snapshot,
                absl::string_view prefix, absl::string_view path)
      : prefix_(prefix), end_(PrefixEnd(prefix)), end_slice_(end_), path_(path) {
    rocksdb::ReadOptions options;
    options.snapshot = snapshot;  // null: RocksDB pins the present itself
    options.fill_cache = false;   // a walk over everything would throw out what single reads want
    if (!end_.empty()) options.iterate_upper_bound = &end_slice_;
    it_.reset(db->NewIterator(options, family));
    it_->Seek(prefix_);
  }
  bool Valid() const override { return it_->Valid(); }
  void Next() override { it_->Next(); }
  void Seek(absl::string_view key) override {
    it_->Seek(key < absl::string_view(prefix_) ? rocksdb::Slice(prefix_) : Slice(key));
  }
  absl::string_view key() const override { return View(it_->key()); }
  absl::string_view value() const override { return View(it_->value()); }
  absl::Status status() const override { return FromRocks(it_->status(), path_); }

 private:
  const std::string prefix_;
  const std::string end_;
  const rocksdb::Slice end_slice_;
  const std::string path_;
  std::unique_ptr<rocksdb::Iterator> it_;
};

class RocksDatabase;

class Recorder : public ChangeRecorder {
 public:
  explicit Recorder(RocksDatabase* database) : database_(database) {}
  ~Recorder() override;
  std::vector<RecordName> Take() override;

 private:
  friend class RocksDatabase;
  RocksDatabase* database_;
  std::vector<RecordName> names_;  // guarded by the database's recorders_mutex_
};

class RocksDatabase : public Database {
 public:
  explicit RocksDatabase(std::string path)
      : path_(std::move(path)),
        ballast_(path_),
        log_space_(LogSpace::Create([this] { return ballast_.Release(); })) {}
  ~RocksDatabase() override;

  absl::Status Init(const Options& options);

  absl::StatusOr<std::string> Get(absl::string_view family, absl::string_view key) const override {
    return GetAt(nullptr, family, key);
  }
  std::unique_ptr<Snapshot> NewSnapshot() const override;
  std::unique_ptr<Iterator> Scan(absl::string_view family, absl::string_view prefix) const override {
    return ScanAt(nullptr, family, prefix);
  }
  absl::Status Write(const WriteBatch& batch, Durability durability) override;
  RecordLock Lock(std::vector<RecordName> records) override { return locks_.Lock(records); }
  RecordLock LockExclusively() override { return locks_.LockExclusively(); }
  std::unique_ptr<ChangeRecorder> RecordChanges() override;

  absl::StatusOr<std::string> GetAt(const rocksdb::Snapshot* snapshot, absl::string_view family,
                                    absl::string_view key) const;
  std::unique_ptr<Iterator> ScanAt(const rocksdb::Snapshot* snapshot, absl::string_view family,
                                   absl::string_view prefix) const;
  rocksdb::DB* rocks() const { return db_.get(); }

 private:
  friend class Recorder;

  absl::StatusOr<rocksdb::ColumnFamilyHandle*> Family(absl::string_view name) const;
  absl::Status MakeRoomForOpening();
  void Record(const WriteBatch& batch);
  // Space for a batch of that size, to be settled later. So a full disk is met before RocksDB meets it: what grows is
  // refused as long as the ballast is not held, and never takes the log's last blocks, which are for removals.
  bool ClaimLog(size_t size, bool grows);
  absl::Status NoSpace(absl::string_view why) const;
  rocksdb::Status WriteOrRecover(const rocksdb::WriteOptions& options, rocksdb::WriteBatch* batch);
  // Lets RocksDB go on after a failure in the background. False if that fails again.
  bool Recover();

  const std::string path_;
  Ballast ballast_;
  const std::unique_ptr<LogSpace> log_space_;
  const std::shared_ptr<ManualRecovery> recovery_ = std::make_shared<ManualRecovery>();
  std::mutex recovering_;
  std::unique_ptr<rocksdb::DB> db_;
  std::map<std::string, rocksdb::ColumnFamilyHandle*, std::less<>> families_;
  LockTable locks_;
  std::atomic<bool> log_failed_{false};  // a write of the log failed: only opening the store anew helps

  // Held shared over each write, alone while a recorder begins: so a write is either recorded, or over before
  // the recorder's owner takes its snapshot.
  FairSharedMutex writing_;
  std::atomic<int> recorder_count_{0};
  std::mutex recorders_mutex_;
  std::set<Recorder*> recorders_;
};

class RocksSnapshot : public Snapshot {
 public:
  explicit RocksSnapshot(const RocksDatabase* database)
      : database_(database), snapshot_(database->rocks()->GetSnapshot()) {}
  ~RocksSnapshot() override { database_->rocks()->ReleaseSnapshot(snapshot_); }
  absl::StatusOr<std::string> Get(absl::string_view family, absl::string_view key) const override {
    return database_->GetAt(snapshot_, family, key);
  }
  std::unique_ptr<Iterator> Scan(absl::string_view family, absl::string_view prefix) const override {
    return database_->ScanAt(snapshot_, family, prefix);
  }

 private:
  const RocksDatabase* database_;
  const rocksdb::Snapshot* snapshot_;
};

Recorder::~Recorder() {
  std::lock_guard<std::mutex> lock(database_->recorders_mutex_);
  database_->recorders_.erase(this);
  --database_->recorder_count_;
}

std::vector<RecordName> Recorder::Take() {
  std::lock_guard<std::mutex> lock(database_->recorders_mutex_);
  return std::exchange(names_, {});
}

RocksDatabase::~RocksDatabase() {
  if (db_ == nullptr) return;
  for (const auto& [name, handle] : families_) db_->DestroyColumnFamilyHandle(handle);
  db_->Close();
}

absl::Status RocksDatabase::Init(const Options& options) {
  if (mkdir(path_.c_str(), 0700) != 0 && errno != EEXIST) return sys::ErrnoStatus("mkdir", path_);
  const auto cache = rocksdb::NewLRUCache(options.block_cache_bytes, /*num_shard_bits=*/0);
  const rocksdb::ColumnFamilyOptions family = FamilyOptions(options, cache);
  rocksdb::DBOptions database = DatabaseOptions(log_space_->env(), recovery_);
  database.info_log = std::make_shared<Warnings>(path_);
  database.db_write_buffer_size = 3 * options.write_buffer_bytes;  // over all families

  // RocksDB insists on opening every family that the files have: a newer version may have left more.
  std::set<std::string> names(options.families.begin(), options.families.end());
  names.insert(rocksdb::kDefaultColumnFamilyName);
  std::vector<std::string> present;
  if (rocksdb::DB::ListColumnFamilies(database, path_, &present).ok()) {
    names.insert(present.begin(), present.end());
  }
  std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
  descriptors.reserve(names.size());
  for (const std::string& name : names) descriptors.emplace_back(name, family);
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  GANTRY_RETURN_IF_ERROR(MakeRoomForOpening());
  const rocksdb::Status opened = rocksdb::DB::Open(database, path_, descriptors, &handles, &db);
  if (!opened.ok()) return FromRocks(opened, path_);
  db_.reset(db);
  for (rocksdb::ColumnFamilyHandle* handle : handles) families_[handle->GetName()] = handle;
  ballast_.Restore();
  return absl::OkStatus();
}

absl::Status RocksDatabase::MakeRoomForOpening() {
  // Not after a failure: Debian's RocksDB 7.8 aborts when the disk is full while it is opened (see WriteOrRecover).
  if (HasRoom(path_, Ballast::kBytes)) return absl::OkStatus();
  ballast_.Release();
  if (HasRoom(path_, kOpeningBytes)) return absl::OkStatus();
  return NoSpace(absl::StrCat("to open it takes ", kOpeningBytes >> 10, " KiB"));
}

absl::StatusOr<rocksdb::ColumnFamilyHandle*> RocksDatabase::Family(absl::string_view name) const {
  const auto it = families_.find(std::string(name));
  if (it == families_.end()) {
    return absl::InvalidArgumentError(absl::StrCat("record store ", path_, " has no family ", name));
  }
  return it->second;
}

absl::StatusOr<std::string> RocksDatabase::GetAt(const rocksdb::Snapshot* snapshot, absl::string_view family,
                                                 absl::string_view key) const {
  GANTRY_ASSIGN_OR_RETURN(rocksdb::ColumnFamilyHandle * handle, Family(family));
  rocksdb::ReadOptions options;
  options.snapshot = snapshot;
  std::string value;
  const rocksdb::Status status = db_->Get(options, handle, Slice(key), &value);
  if (status.IsNotFound()) return absl::NotFoundError(absl::StrCat("no record ", family, ":", key));
  if (!status.ok()) return FromRocks(status, path_);
  return value;
}

std::unique_ptr<Iterator> RocksDatabase::ScanAt(const rocksdb::Snapshot* snapshot, absl::string_view family,
                                                absl::string_view prefix) const {
  auto handle = Family(family);
  if (!handle.ok()) return std::make_unique<FailedIterator>(handle.status());
  return std::make_unique<RocksIterator>(db_.get(), *handle, snapshot, prefix, path_);
}

std::unique_ptr<Snapshot> RocksDatabase::NewSnapshot() const { return std::make_unique<RocksSnapshot>(this); }

void RocksDatabase::Record(const WriteBatch& batch) {
  if (recorder_count_.load() == 0) return;
  std::lock_guard<std::mutex> lock(recorders_mutex_);
  for (Recorder* recorder : recorders_) {
    for (const WriteBatch::Change& change : batch.changes()) {
      if (change.value.has_value()) recorder->names_.push_back({change.family, change.key});
    }
  }
}

absl::Status RocksDatabase::NoSpace(absl::string_view why) const {
  return absl::ResourceExhaustedError(
      absl::StrCat("record store ", path_, ": no space left on device: ", why, "; remove something"));
}

bool RocksDatabase::ClaimLog(size_t size, bool grows) {
  if (grows) return ballast_.Restore() && log_space_->Claim(size, kReservedBytes);
  return log_space_->Claim(size, 0) || (ballast_.Release() && log_space_->Claim(size, 0));
}

bool RocksDatabase::Recover() {
  std::lock_guard<std::mutex> lock(recovering_);
  recovery_->failed = false;
  if (db_->Resume().ok()) return true;
  recovery_->failed = true;
  return false;
}

rocksdb::Status RocksDatabase::WriteOrRecover(const rocksdb::WriteOptions& options,
                                              rocksdb::WriteBatch* batch) {
  // A failed compaction stops no writes yet, but one day it would.
  if (recovery_->failed && !log_failed_ && HasRoom(path_, kRecoveryBytes)) (void)Recover();
  rocksdb::Status status = db_->Write(options, batch);
  // After a failure in the background (a full disk, mostly) RocksDB refuses all writes until it is told to go on. Not
  // so after a failure of the log itself: there Debian's RocksDB 7.8, built with assertions, aborts in Resume
  // (WritableFileWriter::AssertFalseAndGetStatusForPrevError).
  if (status.IsIOError() && absl::StrContains(status.ToString(), ".log")) log_failed_ = true;
  if (status.ok() || log_failed_) return status;
  ballast_.Release();
  return Recover() ? db_->Write(options, batch) : status;
}

absl::Status RocksDatabase::Write(const WriteBatch& batch, Durability durability) {
  rocksdb::WriteBatch rocks;
  for (const WriteBatch::Change& change : batch.changes()) {
    GANTRY_ASSIGN_OR_RETURN(rocksdb::ColumnFamilyHandle * handle, Family(change.family));
    const rocksdb::Status added = change.value.has_value()
                                      ? rocks.Put(handle, Slice(change.key), Slice(*change.value))
                                      : rocks.Delete(handle, Slice(change.key));
    if (!added.ok()) return FromRocks(added, path_);
  }
  const size_t size = rocks.GetDataSize();
  const bool grows = std::any_of(batch.changes().begin(), batch.changes().end(),
                                 [](const WriteBatch::Change& change) { return change.value.has_value(); });
  if (!ClaimLog(size, grows)) return NoSpace(grows ? "what is left is kept for removals" : "its log is full");
  const absl::Cleanup settle = [this, size] { log_space_->Settle(size); };
  std::shared_lock<FairSharedMutex> writing(writing_);
  // Before the write: whoever sees the change in the store must find it recorded.
  Record(batch);
  rocksdb::WriteOptions options;
  options.sync = durability == Durability::kSynced;
  return FromRocks(WriteOrRecover(options, &rocks), path_);
}

std::unique_ptr<ChangeRecorder> RocksDatabase::RecordChanges() {
  auto recorder = std::make_unique<Recorder>(this);
  std::unique_lock<FairSharedMutex> writing(writing_);
  std::lock_guard<std::mutex> lock(recorders_mutex_);
  recorders_.insert(recorder.get());
  ++recorder_count_;
  return recorder;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Database>> Database::Open(Options options) {
  auto database = std::make_unique<RocksDatabase>(options.path);
  GANTRY_RETURN_IF_ERROR(database->Init(options));
  return std::unique_ptr<Database>(std::move(database));
}

}  // namespace gantry::kv
