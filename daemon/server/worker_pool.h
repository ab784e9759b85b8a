// A small fixed pool of threads for work that may block: files, fsync, the database.
//
// gRPC's own threads and the event loop must never block; they hand such work to a pool. Threads are started
// on demand up to the fixed number and stay. Work runs in the order of submission, but several at once.
//
//   WorkerPool pool("records", 4);
//   pool.Submit([=] { ... });
//
// Thread-safe. The destructor runs all that was submitted, then joins; nothing may be submitted meanwhile by
// others than the running work itself.
#ifndef GANTRY_DAEMON_SERVER_WORKER_POOL_H_
#define GANTRY_DAEMON_SERVER_WORKER_POOL_H_

#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/synchronization/mutex.h"

namespace gantry::server {

class WorkerPool {
 public:
  using Work = absl::AnyInvocable<void()>;

  // `name` (at most 15 bytes) shows in ps and top. `threads` must be at least 1.
  WorkerPool(std::string name, int threads);
  ~WorkerPool();

  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  void Submit(Work work);

 private:
  void Run();
  bool HasWorkOrClosing() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return closing_ || !queue_.empty(); }

  const std::string name_;
  const size_t limit_;
  absl::Mutex mutex_;
  std::deque<Work> queue_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
  size_t idle_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace gantry::server

#endif  // GANTRY_DAEMON_SERVER_WORKER_POOL_H_
