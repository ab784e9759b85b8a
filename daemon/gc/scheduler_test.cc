#include "daemon/gc/scheduler.h"

#include <gtest/gtest.h>

#include <atomic>

#include "runtime/sys/clock.h"

namespace gantry::gc {
namespace {

using metadata::Change;

class SchedulerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    loop_ = *sys::EventLoop::Create();
    pool_ = std::make_unique<server::WorkerPool>("gc-test", 2);
  }
  void TearDown() override { pool_.reset(); }
  void Make(SchedulerOptions options) {
    scheduler_ =
        std::make_unique<Scheduler>(loop_.get(), pool_.get(), options, [this]() -> absl::StatusOr<Collected> {
          ++collections_;
          if (!result_.ok()) return result_;
          return Collected{};
        });
  }
  // Turns the loop until `done` or the time is up.
  bool Turn(
      absl::Duration time, const std::function<bool()>& done = [] { return false; }) {
    const sys::Deadline deadline = sys::Deadline::After(time);
    while (!done() && !deadline.Passed()) {
      EXPECT_TRUE(loop_->RunOnce(absl::Milliseconds(5)).ok());
    }
    return done();
  }

  std::unique_ptr<sys::EventLoop> loop_;
  std::unique_ptr<server::WorkerPool> pool_;
  std::unique_ptr<Scheduler> scheduler_;
  std::atomic<int> collections_{0};
  absl::Status result_;
};

TEST_F(SchedulerTest, CollectsOnceAfterTheStartAndThenRests) {
  SchedulerOptions options;
  options.startup_delay = absl::Milliseconds(10);
  options.pause_threshold = 0.5;
  Make(options);
  scheduler_->Start();
  EXPECT_TRUE(Turn(absl::Seconds(10), [this] { return collections_ == 1; }));
  Turn(absl::Milliseconds(100));
  EXPECT_EQ(collections_, 1);
  EXPECT_EQ(loop_->timers(), 0u);
}

TEST_F(SchedulerTest, RemovalsAreCollectedTogetherAfterTheInterval) {
  SchedulerOptions options;
  options.startup_delay = absl::ZeroDuration();
  options.pause_threshold = 0.5;
  Make(options);
  scheduler_->Start();
  for (int i = 0; i < 50; ++i) scheduler_->OnChange(Change::kAddition);
  Turn(absl::Milliseconds(50));
  EXPECT_EQ(collections_, 0);
  for (int i = 0; i < 10; ++i) scheduler_->OnChange(Change::kRemoval);
  EXPECT_TRUE(Turn(absl::Seconds(10), [this] { return collections_ == 1; }));
}

TEST_F(SchedulerTest, EnoughMutationsAreAReason) {
  SchedulerOptions options;
  options.startup_delay = absl::ZeroDuration();
  options.mutation_threshold = 5;
  Make(options);
  for (int i = 0; i < 5; ++i) scheduler_->OnChange(Change::kAddition);
  EXPECT_TRUE(Turn(absl::Seconds(10), [this] { return collections_ == 1; }));
}

TEST_F(SchedulerTest, EveryWaiterGetsACollectionThatBeganAfterItsCall) {
  SchedulerOptions options;
  options.startup_delay = absl::ZeroDuration();
  Make(options);
  std::atomic<int> done{0};
  for (int i = 0; i < 20; ++i) {
    const int before = collections_;
    scheduler_->CollectNow([&, before](const absl::Status& status) {
      EXPECT_TRUE(status.ok());
      EXPECT_GT(collections_, before);
      ++done;
    });
    Turn(absl::Milliseconds(1));
  }
  EXPECT_TRUE(Turn(absl::Seconds(10), [&] { return done == 20; }));
}

TEST_F(SchedulerTest, FailureReachesTheWaiter) {
  result_ = absl::DataLossError("damaged");
  Make({});
  std::atomic<bool> failed{false};
  scheduler_->CollectNow([&](const absl::Status& status) { failed = absl::IsDataLoss(status); });
  EXPECT_TRUE(Turn(absl::Seconds(10), [&] { return failed.load(); }));
}

}  // namespace
}  // namespace gantry::gc
