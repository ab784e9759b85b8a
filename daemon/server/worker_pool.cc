#include "daemon/server/worker_pool.h"

#include <pthread.h>

#include <utility>

namespace gantry::server {

WorkerPool::WorkerPool(std::string name, int threads)
    : name_(name.substr(0, 15)), limit_(threads < 1 ? 1 : static_cast<size_t>(threads)) {}

WorkerPool::~WorkerPool() {
  std::vector<std::thread> threads;
  {
    absl::MutexLock lock(&mutex_);
    closing_ = true;
    threads.swap(threads_);
  }
  for (std::thread& thread : threads) thread.join();
  // Work submitted before the first thread could start, or by the last work itself.
  while (true) {
    Work work;
    {
      absl::MutexLock lock(&mutex_);
      if (queue_.empty()) return;
      work = std::move(queue_.front());
      queue_.pop_front();
    }
    work();
  }
}

void WorkerPool::Submit(Work work) {
  absl::MutexLock lock(&mutex_);
  queue_.push_back(std::move(work));
  if (queue_.size() > idle_ && threads_.size() < limit_ && !closing_)
    threads_.emplace_back([this] { Run(); });
}

void WorkerPool::Run() {
  pthread_setname_np(pthread_self(), name_.c_str());
  while (true) {
    Work work;
    {
      absl::MutexLock lock(&mutex_);
      ++idle_;
      mutex_.Await(absl::Condition(this, &WorkerPool::HasWorkOrClosing));
      --idle_;
      if (queue_.empty()) return;
      work = std::move(queue_.front());
      queue_.pop_front();
    }
    work();
  }
}

}  // namespace gantry::server
