// The locks behind kv::RecordLock: a fixed number of stripes for records, and a gate that a RecordLock passes
// shared and the collector's sweep alone. Memory does not grow with the number of records.
#ifndef GANTRY_CONTENT_KV_LOCKS_H_
#define GANTRY_CONTENT_KV_LOCKS_H_

#include <pthread.h>

#include <array>
#include <cstddef>
#include <mutex>
#include <vector>

#include "content/kv/kv.h"

namespace gantry::kv {

// A readers-writer lock that lets no stream of readers starve the writer, as std::shared_mutex may. Not
// recursive. Usable with std::shared_lock and std::unique_lock.
class FairSharedMutex {
 public:
  FairSharedMutex();
  ~FairSharedMutex();
  FairSharedMutex(const FairSharedMutex&) = delete;
  FairSharedMutex& operator=(const FairSharedMutex&) = delete;
  void lock() { pthread_rwlock_wrlock(&lock_); }
  void unlock() { pthread_rwlock_unlock(&lock_); }
  void lock_shared() { pthread_rwlock_rdlock(&lock_); }
  void unlock_shared() { pthread_rwlock_unlock(&lock_); }

 private:
  pthread_rwlock_t lock_;
};

// Thread-safe. Must outlive the locks it gives.
class LockTable {
 public:
  RecordLock Lock(const std::vector<RecordName>& records);
  RecordLock LockExclusively();

 private:
  friend class RecordLock::Impl;
  static constexpr size_t kStripes = 256;

  FairSharedMutex gate_;
  std::array<std::mutex, kStripes> stripes_;
};

}  // namespace gantry::kv

#endif  // GANTRY_CONTENT_KV_LOCKS_H_
