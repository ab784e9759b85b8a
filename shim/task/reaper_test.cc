#include "shim/task/reaper.h"

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <optional>

#include "gtest/gtest.h"
#include "runtime/sys/spawn.h"

namespace gantry::shim {
namespace {

sys::Spawned Shell(const std::string& script) {
  sys::SpawnOptions options;
  options.path = "/bin/sh";
  options.argv = {"sh", "-c", script};
  auto spawned = sys::Spawn(options);
  EXPECT_TRUE(spawned.ok()) << spawned.status();
  return *std::move(spawned);
}

TEST(ReaperTest, WatchedChildrenAreToldOthersAreJustReaped) {
  auto loop = *sys::EventLoop::Create();
  auto reaper = *Reaper::Create(loop.get(), [] {});
  std::optional<int> exited, killed;
  sys::Spawned first = Shell("exit 7");
  ASSERT_TRUE(
      reaper->Watch(first.pid, first.pidfd, [&](sys::ExitStatus status) { exited = status.Code(); }).ok());
  sys::Spawned second = Shell("kill -9 $$");
  const pid_t second_pid = second.pid;
  ASSERT_TRUE(reaper
                  ->WatchOwned(second_pid, std::move(second.pidfd),
                               [&](sys::ExitStatus status) { killed = status.Code(); })
                  .ok());
  const sys::Spawned unknown = Shell("exit 1");
  for (int i = 0; i < 500 && !(exited && killed && kill(unknown.pid, 0) != 0); ++i) {
    ASSERT_TRUE(loop->RunOnce(absl::Milliseconds(10)).ok());
  }
  EXPECT_EQ(exited, 7);
  EXPECT_EQ(killed, 128 + SIGKILL);
  EXPECT_NE(kill(unknown.pid, 0), 0);
  EXPECT_EQ(reaper->watched(), 0u);
}

TEST(ReaperTest, OrphansOfASubreaperAreReaped) {
  ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  auto loop = *sys::EventLoop::Create();
  auto reaper = *Reaper::Create(loop.get(), [] {});
  char name[] = "/tmp/shim-orphan-XXXXXX";
  const int fd = mkstemp(name);
  Shell(std::string("sleep 0.2 & echo $! >") + name);
  pid_t orphan = 0;
  for (int i = 0; i < 500; ++i) {
    ASSERT_TRUE(loop->RunOnce(absl::Milliseconds(10)).ok());
    char text[32] = {};
    if (orphan == 0 && pread(fd, text, sizeof(text) - 1, 0) > 0) orphan = atoi(text);
    if (orphan != 0 && kill(orphan, 0) != 0) break;
  }
  EXPECT_GT(orphan, 0);
  EXPECT_NE(kill(orphan, 0), 0);
  close(fd);
  unlink(name);
  prctl(PR_SET_CHILD_SUBREAPER, 0);
}

TEST(ReaperTest, SigtermIsPassedOn) {
  auto loop = *sys::EventLoop::Create();
  bool terminated = false;
  auto reaper = *Reaper::Create(loop.get(), [&] { terminated = true; });
  kill(getpid(), SIGTERM);
  ASSERT_TRUE(loop->RunOnce(absl::Seconds(5)).ok());
  EXPECT_TRUE(terminated);
}

}  // namespace
}  // namespace gantry::shim
