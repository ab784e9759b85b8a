#include "daemon/server/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>

#include "absl/synchronization/barrier.h"
#include "absl/synchronization/blocking_counter.h"

namespace gantry::server {
namespace {

TEST(WorkerPoolTest, RunsEverythingThatWasSubmittedBeforeItEnds) {
  std::atomic<int> ran = 0;
  {
    WorkerPool pool("test", 3);
    for (int i = 0; i < 1000; ++i) pool.Submit([&ran] { ++ran; });
  }
  EXPECT_EQ(ran, 1000);
}

TEST(WorkerPoolTest, RunsAsManyAtOnceAsItHasThreads) {
  WorkerPool pool("test", 2);
  absl::BlockingCounter done(2);
  auto* barrier = new absl::Barrier(2);  // passes only if both are there at once
  for (int i = 0; i < 2; ++i) {
    pool.Submit([&done, barrier] {
      if (barrier->Block()) delete barrier;
      done.DecrementCount();
    });
  }
  done.Wait();
}

TEST(WorkerPoolTest, OneThreadKeepsTheOrder) {
  std::vector<int> order;
  {
    WorkerPool pool("test", 1);
    for (int i = 0; i < 100; ++i) pool.Submit([&order, i] { order.push_back(i); });
  }
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[i], i);
}

}  // namespace
}  // namespace gantry::server
