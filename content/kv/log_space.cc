#include "content/kv/log_space.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "rocksdb/env.h"
#include "rocksdb/file_system.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::kv {
namespace {

using rocksdb::FileOptions;
using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

// How far the allocation runs ahead of what is needed: few calls, and little that others miss.
constexpr uint64_t kAheadBytes = 128 << 10;
// RocksDB would allocate some megabytes for each table that it writes.
constexpr size_t kPreallocationBytes = 64 << 10;

bool IsLog(const std::string& path) { return absl::EndsWith(path, ".log"); }

// The log's format: 7 bytes for each part of a record, parts end with a block of 32 KiB (RocksDB's log_format.h).
uint64_t BytesInLog(uint64_t batch_bytes) { return batch_bytes + batch_bytes / 2048 + 64; }

class LogFile;

// What claims and log files share.
class Account {
 public:
  explicit Account(std::function<bool()> make_room) : make_room_(std::move(make_room)) {}

  bool Claim(uint64_t bytes, uint64_t spare);
  void Settle(uint64_t bytes);
  // `file` is the log that the next batches go to. False if they would not fit.
  bool Begin(LogFile* file);
  void Wrote(LogFile* file, uint64_t bytes);
  void End(LogFile* file);

 private:
  // Under mutex_: whether `file` has blocks for all that is claimed, and as many more.
  bool Fits(LogFile* file, uint64_t spare);

  const std::function<bool()> make_room_;
  std::mutex mutex_;
  LogFile* current_ = nullptr;
  uint64_t claimed_ = 0;
};

// A log under our allocation instead of RocksDB's. What is written and allocated is the account's.
class LogFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  LogFile(std::unique_ptr<rocksdb::FSWritableFile> target, sys::UniqueFd fd, std::shared_ptr<Account> account)
      : FSWritableFileOwnerWrapper(std::move(target)), fd_(std::move(fd)), account_(std::move(account)) {}
  ~LogFile() override { account_->End(this); }

  IOStatus Append(const rocksdb::Slice& data, const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = target()->Append(data, options, debug);
    if (status.ok()) account_->Wrote(this, data.size());
    return status;
  }
  IOStatus Append(const rocksdb::Slice& data, const IOOptions& options,
                  const rocksdb::DataVerificationInfo& verification, IODebugContext* debug) override {
    IOStatus status = target()->Append(data, options, verification, debug);
    if (status.ok()) account_->Wrote(this, data.size());
    return status;
  }
  void PrepareWrite(size_t, size_t, const IOOptions&, IODebugContext*) override {}
  IOStatus Close(const IOOptions& options, IODebugContext* debug) override {
    account_->End(this);
    struct stat st;
    // What was allocated beyond the end goes back; a failure only leaves it until the log is deleted.
    if (fstat(fd_.get(), &st) == 0 && ftruncate(fd_.get(), st.st_size) != 0) errno = 0;
    return target()->Close(options, debug);
  }

  // Allocates blocks up to `end`. False if the disk is full.
  bool Extend(uint64_t end) {
    int result;
    do {
      result = fallocate(fd_.get(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(allocated),
                         static_cast<off_t>(end - allocated));
    } while (result != 0 && errno == EINTR);
    if (result != 0 && (errno == ENOSPC || errno == EDQUOT)) return false;
    // Where nothing can be allocated nothing is promised; what fails then is RocksDB's to tell.
    allocated = result == 0 ? end : std::numeric_limits<off_t>::max();
    return true;
  }

  uint64_t written = 0;    // guarded by the account's mutex
  uint64_t allocated = 0;  // the same

 private:
  const sys::UniqueFd fd_;
  const std::shared_ptr<Account> account_;
};

bool Account::Fits(LogFile* file, uint64_t spare) {
  const uint64_t needed = file->written + claimed_ + spare;
  if (needed <= file->allocated) return true;
  return file->Extend(needed + kAheadBytes) || file->Extend(needed);
}

bool Account::Claim(uint64_t bytes, uint64_t spare) {
  std::lock_guard<std::mutex> lock(mutex_);
  claimed_ += bytes;
  if (current_ == nullptr || Fits(current_, spare)) return true;
  claimed_ -= bytes;
  return false;
}

void Account::Settle(uint64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  claimed_ -= bytes;
}

bool Account::Begin(LogFile* file) {
  for (bool again : {true, false}) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (Fits(file, 0)) {
        current_ = file;
        return true;
      }
    }
    if (!again || !make_room_()) break;
  }
  return false;
}

void Account::Wrote(LogFile* file, uint64_t bytes) {
  std::lock_guard<std::mutex> lock(mutex_);
  file->written += bytes;
}

void Account::End(LogFile* file) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (current_ == file) current_ = nullptr;
}

class SparingFile : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  using FSWritableFileOwnerWrapper::FSWritableFileOwnerWrapper;
  void SetPreallocationBlockSize(size_t size) override {
    target()->SetPreallocationBlockSize(std::min(size, kPreallocationBytes));
  }
};

class Files : public rocksdb::FileSystemWrapper {
 public:
  Files(const std::shared_ptr<rocksdb::FileSystem>& base, std::shared_ptr<Account> account)
      : FileSystemWrapper(base), account_(std::move(account)) {}
  const char* Name() const override { return "GantryFiles"; }

  IOStatus NewWritableFile(const std::string& path, const FileOptions& options,
                           std::unique_ptr<rocksdb::FSWritableFile>* result, IODebugContext* debug) override {
    std::unique_ptr<rocksdb::FSWritableFile> file;
    IOStatus status = target()->NewWritableFile(path, options, &file, debug);
    if (!status.ok()) return status;
    if (!IsLog(path)) {
      *result = std::make_unique<SparingFile>(std::move(file));
      return status;
    }
    sys::UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.valid()) return IOStatus::IOError("a second descriptor of the log", std::to_string(errno));
    auto log = std::make_unique<LogFile>(std::move(file), std::move(fd), account_);
    if (!account_->Begin(log.get())) {
      log.reset();
      target()->DeleteFile(path, IOOptions(), nullptr).PermitUncheckedError();
      return IOStatus::NoSpace("a new log of the record store");
    }
    *result = std::move(log);
    return status;
  }

  // Only who holds the lock may touch logs: this is where it is taken.
  IOStatus LockFile(const std::string& path, const IOOptions& options, rocksdb::FileLock** lock,
                    IODebugContext* debug) override {
    IOStatus status = target()->LockFile(path, options, lock, debug);
    if (status.ok()) TrimLogs(path.substr(0, path.rfind('/')));
    return status;
  }

 private:
  // A daemon that was killed left its last log with what was allocated ahead.
  void TrimLogs(const std::string& directory) {
    std::vector<std::string> names;
    target()->GetChildren(directory, IOOptions(), &names, nullptr).PermitUncheckedError();
    for (const std::string& name : names) {
      const std::string path = absl::StrCat(directory, "/", name);
      struct stat st;
      if (IsLog(name) && stat(path.c_str(), &st) == 0 && truncate(path.c_str(), st.st_size) != 0) errno = 0;
    }
  }

  const std::shared_ptr<Account> account_;
};

class RocksLogSpace : public LogSpace {
 public:
  explicit RocksLogSpace(std::function<bool()> make_room)
      : account_(std::make_shared<Account>(std::move(make_room))),
        env_(rocksdb::NewCompositeEnv(std::make_shared<Files>(rocksdb::FileSystem::Default(), account_))) {}
  rocksdb::Env* env() override { return env_.get(); }
  bool Claim(size_t batch_bytes, size_t spare_bytes) override {
    return account_->Claim(BytesInLog(batch_bytes), spare_bytes);
  }
  void Settle(size_t batch_bytes) override { account_->Settle(BytesInLog(batch_bytes)); }

 private:
  const std::shared_ptr<Account> account_;
  const std::unique_ptr<rocksdb::Env> env_;
};

}  // namespace

std::unique_ptr<LogSpace> LogSpace::Create(std::function<bool()> make_room) {
  return std::make_unique<RocksLogSpace>(std::move(make_room));
}

}  // namespace gantry::kv
