// One fsync for many: commits that change the same directory at the same time share its sync.
#ifndef GANTRY_CONTENT_SHARED_SYNC_H_
#define GANTRY_CONTENT_SHARED_SYNC_H_

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>

#include "absl/status/status.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::content {

// Thread-safe.
class SharedSync {
 public:
  // `name` is for messages. Owns `fd`.
  SharedSync(sys::UniqueFd fd, std::string name) : fd_(std::move(fd)), name_(std::move(name)) {}

  int fd() const { return fd_.get(); }

  // Returns when everything that was done to the file before the call is on the disk. After one failure
  // every later call fails too: the kernel reports a lost write once, and then forgets it.
  absl::Status Sync();

 private:
  const sys::UniqueFd fd_;
  const std::string name_;
  std::mutex mutex_;
  std::condition_variable changed_;
  uint64_t asked_ = 0;  // calls so far
  uint64_t done_ = 0;   // calls that a finished sync covers
  bool running_ = false;
  absl::Status failed_;
};

}  // namespace gantry::content

#endif  // GANTRY_CONTENT_SHARED_SYNC_H_
