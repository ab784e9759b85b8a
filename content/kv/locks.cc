#include "content/kv/locks.h"

#include <algorithm>
#include <utility>

#include "absl/hash/hash.h"

namespace gantry::kv {
namespace {

// The table that this thread holds exclusively, if any: its own Lock calls then have nothing to wait for.
thread_local const LockTable* exclusive_here = nullptr;

}  // namespace

class RecordLock::Impl {
 public:
  Impl(LockTable* table, std::vector<size_t> stripes, bool exclusive)
      : table_(table), stripes_(std::move(stripes)), exclusive_(exclusive) {
    if (exclusive_) {
      table_->gate_.lock();
      exclusive_here = table_;
      return;
    }
    table_->gate_.lock_shared();
    for (size_t stripe : stripes_) table_->stripes_[stripe].lock();
  }
  ~Impl() {
    for (auto it = stripes_.rbegin(); it != stripes_.rend(); ++it) table_->stripes_[*it].unlock();
    if (exclusive_) {
      exclusive_here = nullptr;
      table_->gate_.unlock();
    } else {
      table_->gate_.unlock_shared();
    }
  }

 private:
  LockTable* table_;
  std::vector<size_t> stripes_;
  bool exclusive_;
};

RecordLock::RecordLock() = default;
RecordLock::RecordLock(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
RecordLock::RecordLock(RecordLock&&) noexcept = default;
RecordLock& RecordLock::operator=(RecordLock&&) noexcept = default;
RecordLock::~RecordLock() = default;

FairSharedMutex::FairSharedMutex() {
  pthread_rwlockattr_t attributes;
  pthread_rwlockattr_init(&attributes);
  pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
  pthread_rwlock_init(&lock_, &attributes);
  pthread_rwlockattr_destroy(&attributes);
}

FairSharedMutex::~FairSharedMutex() { pthread_rwlock_destroy(&lock_); }

RecordLock LockTable::Lock(const std::vector<RecordName>& records) {
  if (exclusive_here == this) return RecordLock();
  std::vector<size_t> stripes;
  stripes.reserve(records.size());
  for (const RecordName& record : records) {
    stripes.push_back(absl::Hash<std::pair<std::string, std::string>>()({record.family, record.key}) %
                      kStripes);
  }
  // One order for everybody, so that no two threads wait for each other.
  std::sort(stripes.begin(), stripes.end());
  stripes.erase(std::unique(stripes.begin(), stripes.end()), stripes.end());
  return RecordLock(std::make_unique<RecordLock::Impl>(this, std::move(stripes), false));
}

RecordLock LockTable::LockExclusively() {
  if (exclusive_here == this) return RecordLock();
  return RecordLock(std::make_unique<RecordLock::Impl>(this, std::vector<size_t>(), true));
}

}  // namespace gantry::kv
