#include "runtime/sys/pidfd.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "runtime/sys/spawn.h"
#include "runtime/sys/status.h"

namespace gantry::sys {
namespace {

absl::StatusOr<Spawned> Shell(const char* script) {
  SpawnOptions options;
  options.path = "/bin/sh";
  options.argv = {"sh", "-c", script};
  return Spawn(options);
}

TEST(PidFd, ReapsTheExitCode) {
  auto child = Shell("exit 7");
  ASSERT_TRUE(child.ok()) << child.status();
  auto status = child->pidfd.Reap(PidFd::Block::kWait);
  ASSERT_TRUE(status.ok()) << status.status();
  ASSERT_TRUE(status->has_value());
  EXPECT_EQ((*status)->Code(), 7);
}

TEST(PidFd, ReapsTheSignal) {
  auto child = Shell("sleep 100");
  ASSERT_TRUE(child.ok()) << child.status();
  auto running = child->pidfd.Reap(PidFd::Block::kNoWait);
  ASSERT_TRUE(running.ok());
  EXPECT_FALSE(running->has_value());
  EXPECT_FALSE(child->pidfd.Exited());
  ASSERT_TRUE(child->pidfd.Signal(SIGKILL).ok());
  EXPECT_TRUE(child->pidfd.WaitExited(absl::Seconds(10)));
  auto status = child->pidfd.Reap(PidFd::Block::kWait);
  ASSERT_TRUE(status.ok() && status->has_value());
  EXPECT_TRUE((*status)->signaled);
  EXPECT_EQ((*status)->Code(), 128 + SIGKILL);
}

TEST(PidFd, SignalAfterTheEndIsNotFound) {
  auto child = Shell("exit 0");
  ASSERT_TRUE(child.ok());
  ASSERT_TRUE(child->pidfd.Reap(PidFd::Block::kWait).ok());
  EXPECT_EQ(ErrnoOf(child->pidfd.Signal(SIGTERM)), ESRCH);
}

TEST(PidFd, TellsTheExitOfAReapedProcess) {
  auto child = Shell("exit 9");
  ASSERT_TRUE(child.ok());
  ASSERT_TRUE(child->pidfd.Reap(PidFd::Block::kWait).ok());
  auto info = child->pidfd.ExitInfo();
  if (!info.ok()) GTEST_SKIP() << info.status();
  EXPECT_EQ(info->Code(), 9);
}

TEST(PidFd, TellsTheExitOfOneThatNobodyHasReaped) {
  for (const char* script : {"exit 9", "kill -KILL $$"}) {
    auto child = Shell(script);
    ASSERT_TRUE(child.ok());
    ASSERT_TRUE(child->pidfd.WaitExited(absl::Seconds(10)));
    auto info = child->pidfd.ExitInfo();
    auto status = child->pidfd.Reap(PidFd::Block::kWait);
    if (absl::IsUnimplemented(info.status())) GTEST_SKIP() << info.status();
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->Code(), (*status)->Code());
    EXPECT_EQ(info->signaled, (*status)->signaled);
  }
}

TEST(PidFd, StartTimeIsThatOfTheProcess) {
  auto mine = ProcessStartTime(getpid());
  ASSERT_TRUE(mine.ok()) << mine.status();
  EXPECT_GT(*mine, 0u);
  EXPECT_FALSE(ProcessStartTime(0x3fffffff).ok());
}

TEST(PidFd, IdentityIsThatOfTheProcess) {
  auto child = Shell("sleep 100");
  ASSERT_TRUE(child.ok()) << child.status();
  const auto identity = child->pidfd.Identity();
  if (!identity.ok()) GTEST_SKIP() << identity.status();
  EXPECT_EQ(*PidFd::Open(child->pid)->Identity(), *identity);
  EXPECT_NE(*PidFd::Open(getpid())->Identity(), *identity);
  ASSERT_TRUE(child->pidfd.Signal(SIGKILL).ok());
  ASSERT_TRUE(child->pidfd.Reap(PidFd::Block::kWait).ok());
}

TEST(PidFd, TellsACopyFromAProgram) {
  EXPECT_TRUE(*ProcessHasExecuted(getpid()));
  const pid_t copy = fork();
  if (copy == 0) pause();
  EXPECT_FALSE(*ProcessHasExecuted(copy));
  kill(copy, SIGKILL);
  waitpid(copy, nullptr, 0);
  EXPECT_FALSE(ProcessHasExecuted(0x3fffffff).ok());
}

}  // namespace
}  // namespace gantry::sys
