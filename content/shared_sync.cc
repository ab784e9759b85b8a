#include "content/shared_sync.h"

#include <unistd.h>

#include "runtime/sys/status.h"

namespace gantry::content {

absl::Status SharedSync::Sync() {
  std::unique_lock<std::mutex> lock(mutex_);
  const uint64_t mine = ++asked_;
  while (failed_.ok() && done_ < mine) {
    if (running_) {
      changed_.wait(lock);
      continue;
    }
    running_ = true;
    const uint64_t covered = asked_;
    lock.unlock();
    const absl::Status status = fsync(fd_.get()) == 0 ? absl::OkStatus() : sys::ErrnoStatus("fsync", name_);
    lock.lock();
    running_ = false;
    done_ = covered;
    failed_ = status;
    changed_.notify_all();
  }
  return failed_;
}

}  // namespace gantry::content
