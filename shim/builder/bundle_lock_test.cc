#include "shim/builder/bundle_lock.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gtest/gtest.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/socket.h"
#include "shim/builder/fork.h"

namespace gantry::shim {
namespace {

class BundleLockTest : public ::testing::Test {
 protected:
  BundleLockTest() : bundle_(mkdtemp(name_)) {}
  ~BundleLockTest() override { sys::RemoveAllAt(AT_FDCWD, bundle_).IgnoreError(); }
  // A builder that says whether it holds the bundle, and works until what is returned is closed.
  sys::UniqueFd StartBuilder(pid_t shim, bool* holds) {
    sys::UniqueFd socket = *RunForked({}, [&](int parent) {
      const absl::StatusOr<sys::UniqueFd> lock = HoldBundle(bundle_, shim);
      sys::SendWithFds(parent, lock.ok() ? "holds" : "refused", {}).IgnoreError();
      sys::ReceiveWithFds(parent, 1).status().IgnoreError();
    });
    *holds = sys::ReceiveWithFds(socket.get(), 16)->data == "holds";
    return socket;
  }
  char name_[32] = "/tmp/shim-lock-XXXXXX";
  const std::string bundle_;
};

TEST_F(BundleLockTest, ABundleThatNobodyHoldsIsNotWaitedFor) {
  EXPECT_TRUE(HoldAfterOthers(bundle_, absl::InfiniteDuration()).valid());
  EXPECT_FALSE(HoldAfterOthers("/nonexistent", absl::InfiniteDuration()).valid());
}

TEST_F(BundleLockTest, ABuilderIsWaitedFor) {
  bool holds = false;
  sys::UniqueFd builder = StartBuilder(getpid(), &holds);
  ASSERT_TRUE(holds);
  const pid_t ender = fork();
  if (ender == 0) {
    usleep(200'000);
    _exit(0);  // closes the last end
  }
  builder.reset();
  const sys::Deadline now = sys::Deadline::After(absl::Milliseconds(100));
  EXPECT_TRUE(HoldAfterOthers(bundle_, absl::Seconds(30)).valid());
  EXPECT_TRUE(now.Passed());
  int status = -1;
  while (waitpid(-1, &status, 0) > 0) EXPECT_EQ(status, 0) << "nobody is killed";
}

TEST_F(BundleLockTest, ABuilderThatHangsIsKilled) {
  bool holds = false;
  const sys::UniqueFd builder = StartBuilder(getpid(), &holds);
  ASSERT_TRUE(holds);
  EXPECT_TRUE(HoldAfterOthers(bundle_, absl::Milliseconds(20)).valid());
  int status = 0;
  ASSERT_GT(waitpid(-1, &status, 0), 0);
  EXPECT_TRUE(WIFSIGNALED(status));
}

TEST_F(BundleLockTest, ABuilderWhoseShimHasEndedDoesNothing) {
  bool holds = true;
  sys::UniqueFd builder = StartBuilder(/*shim=*/1, &holds);
  EXPECT_FALSE(holds);
  builder.reset();
  waitpid(-1, nullptr, 0);
}

// The older of two successors gives way, whichever comes first.
TEST_F(BundleLockTest, TheLastSuccessorHasTheContainer) {
  if (!sys::PidFd::Open(getpid())->Identity().ok()) GTEST_SKIP() << "needs Linux 6.9: pidfs";
  const auto start = [&](bool at_once) {
    return *RunForked({}, [&](int parent) {
      if (!at_once) sys::ReceiveWithFds(parent, 16).status().IgnoreError();
      const absl::StatusOr<sys::UniqueFd> lock = HoldAsSuccessor(bundle_);
      sys::SendWithFds(parent, lock.ok() ? "holds" : "refused", {}).IgnoreError();
      sys::ReceiveWithFds(parent, 1).status().IgnoreError();
    });
  };
  const auto told = [](const sys::UniqueFd& successor) {
    return sys::ReceiveWithFds(successor.get(), 16)->data;
  };
  sys::UniqueFd late = start(false);
  const sys::UniqueFd second = start(true);
  EXPECT_EQ(told(second), "holds");
  ASSERT_TRUE(sys::SendWithFds(late.get(), "go", {}).ok());
  EXPECT_EQ(told(late), "refused");
  sys::UniqueFd third = start(true);
  EXPECT_EQ(told(third), "holds");
  int status = 0;
  ASSERT_GT(waitpid(-1, &status, 0), 0);
  EXPECT_TRUE(WIFSIGNALED(status)) << "the second is killed";
  // The others end with our ends of the sockets.
  late.reset();
  third.reset();
  while (waitpid(-1, &status, 0) > 0) {
  }
}

}  // namespace
}  // namespace gantry::shim
