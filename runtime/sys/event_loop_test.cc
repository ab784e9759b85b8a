#include "runtime/sys/event_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "runtime/sys/status.h"

namespace gantry::sys {
namespace {

class EventLoopTest : public testing::Test {
 protected:
  void SetUp() override {
    auto loop = EventLoop::Create();
    ASSERT_TRUE(loop.ok()) << loop.status();
    loop_ = *std::move(loop);
    for (int i = 0; i < 2; ++i) {
      int fds[2];
      ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
      near_[i].reset(fds[0]);
      far_[i].reset(fds[1]);
    }
  }
  void Poke(int i) { ASSERT_EQ(write(far_[i].get(), "x", 1), 1); }

  std::unique_ptr<EventLoop> loop_;
  UniqueFd near_[2], far_[2];
};

TEST_F(EventLoopTest, ReportsReadinessAndModifiedInterest) {
  std::vector<uint32_t> seen;
  ASSERT_TRUE(loop_->Add(near_[0].get(), EPOLLIN, [&](uint32_t events) { seen.push_back(events); }).ok());
  ASSERT_TRUE(loop_->RunOnce(absl::ZeroDuration()).ok());
  EXPECT_TRUE(seen.empty());
  Poke(0);
  ASSERT_TRUE(loop_->RunOnce(absl::Seconds(5)).ok());
  EXPECT_EQ(seen, std::vector<uint32_t>({EPOLLIN}));
  ASSERT_TRUE(loop_->Modify(near_[0].get(), EPOLLOUT).ok());
  ASSERT_TRUE(loop_->RunOnce(absl::Seconds(5)).ok());
  EXPECT_EQ(seen.back(), uint32_t{EPOLLOUT});
}

TEST_F(EventLoopTest, HangupIsReportedUnasked) {
  uint32_t seen = 0;
  ASSERT_TRUE(loop_->Add(near_[0].get(), 0, [&](uint32_t events) { seen = events; }).ok());
  far_[0].reset();
  ASSERT_TRUE(loop_->RunOnce(absl::Seconds(5)).ok());
  EXPECT_TRUE(seen & EPOLLHUP);
}

TEST_F(EventLoopTest, MisuseIsRefusedByName) {
  ASSERT_TRUE(loop_->Add(near_[0].get(), EPOLLIN, [](uint32_t) {}).ok());
  EXPECT_EQ(loop_->Add(near_[0].get(), EPOLLIN, [](uint32_t) {}).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(loop_->Modify(near_[1].get(), EPOLLIN).code(), absl::StatusCode::kNotFound);
  loop_->Remove(near_[1].get());  // nothing happens
  UniqueFd file(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(ErrnoOf(loop_->Add(file.get(), EPOLLIN, [](uint32_t) {})), EPERM);
  EXPECT_EQ(loop_->watched(), 1u);
}

TEST_F(EventLoopTest, ACallbackMayRemoveItselfAndItsNeighbour) {
  int calls = 0;
  auto callback = [&](uint32_t) {
    ++calls;
    loop_->Remove(near_[0].get());
    loop_->Remove(near_[1].get());
  };
  ASSERT_TRUE(loop_->Add(near_[0].get(), EPOLLIN, callback).ok());
  ASSERT_TRUE(loop_->Add(near_[1].get(), EPOLLIN, callback).ok());
  Poke(0);
  Poke(1);
  ASSERT_TRUE(loop_->RunOnce(absl::Seconds(5)).ok());
  ASSERT_TRUE(loop_->RunOnce(absl::ZeroDuration()).ok());
  EXPECT_EQ(calls, 1) << "the second event had been collected, but its watch was gone";
  EXPECT_EQ(loop_->watched(), 0u);
}

TEST_F(EventLoopTest, ARemovedCallbackLivesUntilItReturns) {
  auto canary = std::make_shared<int>(7);
  std::weak_ptr<int> watch = canary;
  int seen = 0;
  ASSERT_TRUE(loop_
                  ->Add(near_[0].get(), EPOLLIN,
                        [this, &seen, canary = std::move(canary)](uint32_t) {
                          loop_->Remove(near_[0].get());
                          seen = *canary;
                        })
                  .ok());
  Poke(0);
  ASSERT_TRUE(loop_->RunOnce(absl::Seconds(5)).ok());
  EXPECT_EQ(seen, 7);
  EXPECT_TRUE(watch.expired()) << "destroyed at the end of the turn";
}

TEST_F(EventLoopTest, ADescriptorNumberMayBeReusedInsideATurn) {
  int old_calls = 0, new_calls = 0;
  auto reuse = [&](uint32_t) {
    ++old_calls;
    for (auto& fd : near_) loop_->Remove(fd.get());
    ASSERT_TRUE(loop_->Add(near_[0].get(), EPOLLIN, [&](uint32_t) { ++new_calls; }).ok());
    ASSERT_TRUE(loop_->Add(near_[1].get(), EPOLLIN, [&](uint32_t) { ++new_calls; }).ok());
  };
  ASSERT_TRUE(loop_->Add(near_[0].get(), EPOLLIN, reuse).ok());
  ASSERT_TRUE(loop_->Add(near_[1].get(), EPOLLIN, reuse).ok());
  Poke(0);
  Poke(1);
  ASSERT_TRUE(loop_->RunOnce(absl::Seconds(5)).ok());
  EXPECT_EQ(old_calls, 1);
  EXPECT_EQ(new_calls, 0);
  ASSERT_TRUE(loop_->RunOnce(absl::Seconds(5)).ok());
  EXPECT_EQ(new_calls, 2);
}

TEST_F(EventLoopTest, TimersRunInTheOrderOfTheirDeadlines) {
  std::vector<int> order;
  const absl::Time start = absl::Now();
  loop_->RunAfter(absl::Milliseconds(20), [&] {
    order.push_back(3);
    loop_->Stop();
  });
  loop_->RunAfter(absl::Milliseconds(5), [&] { order.push_back(2); });
  loop_->RunAfter(-absl::Seconds(1), [&] { order.push_back(1); });
  loop_->RunAfter(absl::InfiniteDuration(), [&] { order.push_back(9); });
  ASSERT_TRUE(loop_->Run().ok());
  EXPECT_EQ(order, std::vector<int>({1, 2, 3}));
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(19));
  EXPECT_EQ(loop_->timers(), 1u);
}

TEST_F(EventLoopTest, TimersMayBeCancelledAlsoByEachOther) {
  int calls = 0;
  EventLoop::TimerId second = 0;
  loop_->RunAfter(absl::ZeroDuration(), [&] {
    ++calls;
    EXPECT_TRUE(loop_->Cancel(second));
  });
  second = loop_->RunAfter(absl::ZeroDuration(), [&] { ++calls; });
  const EventLoop::TimerId third = loop_->RunAfter(absl::Seconds(100), [&] { ++calls; });
  ASSERT_TRUE(loop_->RunOnce(absl::Seconds(5)).ok());
  EXPECT_EQ(calls, 1);
  EXPECT_FALSE(loop_->Cancel(second));
  EXPECT_TRUE(loop_->Cancel(third));
  EXPECT_FALSE(loop_->Cancel(third));
  EXPECT_EQ(loop_->timers(), 0u);
}

TEST_F(EventLoopTest, ATimerThatRenewsItselfDoesNotStarveDescriptors) {
  int ticks = 0;
  std::function<void()> tick = [&] {
    ++ticks;
    loop_->RunAfter(absl::ZeroDuration(), [&] { tick(); });
  };
  tick();
  bool read = false;
  ASSERT_TRUE(loop_->Add(near_[0].get(), EPOLLIN, [&](uint32_t) { read = true; }).ok());
  Poke(0);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(loop_->RunOnce(absl::ZeroDuration()).ok());
  EXPECT_TRUE(read);
  EXPECT_EQ(ticks, 4);
}

TEST_F(EventLoopTest, PostedWorkKeepsItsOrderAcrossThreads) {
  constexpr int kPosts = 1000;
  std::vector<int> seen;
  std::thread poster([&] {
    for (int i = 0; i < kPosts; ++i) loop_->Post([&seen, i] { seen.push_back(i); });
    loop_->Post([this] { loop_->Stop(); });
  });
  ASSERT_TRUE(loop_->Run().ok());
  poster.join();
  ASSERT_EQ(seen.size(), size_t{kPosts});
  for (int i = 0; i < kPosts; ++i) EXPECT_EQ(seen[i], i);
}

TEST_F(EventLoopTest, WorkPostedByPostedWorkRunsInTheNextTurn) {
  int calls = 0;
  loop_->Post([&] {
    ++calls;
    loop_->Post([&] { ++calls; });
  });
  ASSERT_TRUE(loop_->RunOnce(absl::Seconds(5)).ok());
  EXPECT_EQ(calls, 1);
  ASSERT_TRUE(loop_->RunOnce(absl::Seconds(5)).ok());
  EXPECT_EQ(calls, 2);
}

TEST_F(EventLoopTest, AnIdleLoopWaitsForTheWholeTimeout) {
  const absl::Time start = absl::Now();
  ASSERT_TRUE(loop_->RunOnce(absl::Milliseconds(30)).ok());
  EXPECT_GE(absl::Now() - start, absl::Milliseconds(29));
}

}  // namespace
}  // namespace gantry::sys
