// On the real kernel: needs root and writable cgroup mounts.
#include "runtime/cgroup/cgroup.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>

#include "absl/strings/str_cat.h"
#include "runtime/cgroup/device_program.h"
#include "runtime/cgroup/files.h"
#include "runtime/sys/status.h"

namespace gantry::cgroup {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

class CgroupTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto host = ProbeHost();
    ASSERT_TRUE(host.ok()) << host.status();
    host_ = *std::move(host);
    if (host_.hierarchies.empty()) GTEST_SKIP() << "no cgroup hierarchy is mounted";
    for (const Hierarchy& hierarchy : host_.hierarchies) {
      if (access(hierarchy.mount_point.c_str(), W_OK) != 0) GTEST_SKIP() << "needs root";
    }
    static std::atomic<int> counter{0};
    path_ = absl::StrCat("/gantry-cgroup-test-", getpid(), "-", counter.fetch_add(1));
  }

  void TearDown() override {
    if (cgroup_.empty()) return;
    EXPECT_TRUE(cgroup_.KillAll(SIGKILL).ok());
    while (waitpid(-1, nullptr, WNOHANG) > 0) {
    }
    for (const pid_t pid : children_) waitpid(pid, nullptr, 0);
    EXPECT_TRUE(cgroup_.Delete().ok());
    for (const Directory& directory : cgroup_.directories()) {
      EXPECT_NE(access(directory.path.c_str(), F_OK), 0) << directory.path;
    }
  }

  void Make(const oci::Resources& resources = {}) {
    auto plan = PlanCreate(host_, {path_, "id"}, &resources);
    ASSERT_TRUE(plan.ok()) << plan.status();
    auto cgroup = Cgroup::Create(*plan);
    ASSERT_TRUE(cgroup.ok()) << cgroup.status();
    cgroup_ = *std::move(cgroup);
  }

  // A child that joins the cgroup and then does `body`.
  pid_t Spawn(const std::function<void()>& body) {
    auto join = cgroup_.OpenForJoin();
    EXPECT_TRUE(join.ok()) << join.status();
    std::vector<int> tasks;
    for (const auto& fd : join->tasks) tasks.push_back(fd.get());
    int ready[2];
    EXPECT_EQ(pipe2(ready, O_CLOEXEC), 0);
    clone_args args = {};
    args.exit_signal = SIGCHLD;
    if (join->unified.valid()) {
      args.flags = CLONE_INTO_CGROUP;
      args.cgroup = static_cast<uint64_t>(join->unified.get());
    }
    const pid_t pid = static_cast<pid_t>(syscall(SYS_clone3, &args, sizeof args));
    if (pid == 0) {
      size_t failed = 0;
      if (JoinSelf(tasks.data(), tasks.size(), &failed) != 0) _exit(99);
      if (write(ready[1], "x", 1) != 1) _exit(98);
      body();
      _exit(0);
    }
    EXPECT_GT(pid, 0) << strerror(errno);
    close(ready[1]);
    char byte;
    EXPECT_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    children_.push_back(pid);
    return pid;
  }

  std::string Value(absl::string_view controller, const std::string& file) {
    std::string text = internal::ReadOrEmpty(cgroup_.PathOf(controller) + "/" + file);
    while (!text.empty() && text.back() == '\n') text.pop_back();
    return text;
  }
  bool V1(const char* controller) {
    return host_.Find(controller) != nullptr && host_.Find(controller)->version == 1;
  }

  Host host_;
  std::string path_;
  Cgroup cgroup_;
  std::vector<pid_t> children_;
};

TEST_F(CgroupTest, AProcessIsInAllHierarchies) {
  Make();
  const pid_t pid = Spawn([] { pause(); });
  auto pids = cgroup_.Pids();
  ASSERT_TRUE(pids.ok()) << pids.status();
  EXPECT_THAT(*pids, UnorderedElementsAre(pid));
  const std::string text = internal::ReadOrEmpty(absl::StrCat("/proc/", pid, "/cgroup"));
  for (const Hierarchy& hierarchy : host_.hierarchies) {
    EXPECT_THAT(text, HasSubstr(absl::StrCat(hierarchy.version == 2 ? ":" : hierarchy.controllers[0], ":",
                                             path_, "\n")));
  }
}

TEST_F(CgroupTest, LimitsReachTheKernel) {
  if (!V1("memory") || !V1("pids") || !V1("cpu"))
    GTEST_SKIP() << "needs the v1 controllers memory, pids and cpu";
  oci::Resources r;
  r.memory.emplace().limit = 64 << 20;
  r.pids_limit = 20;
  r.cpu.emplace().quota = 20000;
  r.cpu->period = 50000;
  Make(r);
  EXPECT_EQ(Value("memory", "memory.limit_in_bytes"), absl::StrCat(64 << 20));
  EXPECT_EQ(Value("pids", "pids.max"), "20");
  EXPECT_EQ(Value("cpu", "cpu.cfs_quota_us"), "20000");

  oci::Resources more;  // a bigger share of a shorter period, and a memory limit beyond the old swap limit
  more.memory.emplace().limit = 128 << 20;
  more.memory->swap = 256 << 20;
  more.cpu.emplace().period = 10000;
  ASSERT_TRUE(cgroup_.Update(more).ok());
  EXPECT_EQ(Value("memory", "memory.limit_in_bytes"), absl::StrCat(128 << 20));
  EXPECT_EQ(Value("pids", "pids.max"), "20");
  EXPECT_EQ(Value("cpu", "cpu.cfs_period_us"), "10000");

  more = {};
  more.memory.emplace().limit = 512 << 20;  // beyond the present swap limit: the order must turn around
  more.memory->swap = 512 << 20;
  const absl::Status status = cgroup_.Update(more);
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(Value("memory", "memory.limit_in_bytes"), absl::StrCat(512 << 20));
  more.memory->limit = 32 << 20;
  more.memory->swap = 32 << 20;
  EXPECT_TRUE(cgroup_.Update(more).ok());
  EXPECT_EQ(Value("memory", "memory.limit_in_bytes"), absl::StrCat(32 << 20));
}

TEST_F(CgroupTest, ARefusedLimitLeavesNothingBehind) {
  if (!V1("cpuset")) GTEST_SKIP() << "needs the v1 controller cpuset";
  oci::Resources r;
  r.cpu.emplace().cpus = "4000";
  auto plan = PlanCreate(host_, {path_ + "/deep", "id"}, &r);
  ASSERT_TRUE(plan.ok()) << plan.status();
  auto cgroup = Cgroup::Create(*plan);
  ASSERT_FALSE(cgroup.ok());
  EXPECT_THAT(cgroup.status().message(), HasSubstr("linux.resources.cpu.cpus: write \"4000\""));
  for (const Hierarchy& hierarchy : host_.hierarchies) {
    EXPECT_NE(access((hierarchy.mount_point + path_).c_str(), F_OK), 0) << hierarchy.mount_point;
  }
}

TEST_F(CgroupTest, AnOccupiedCgroupIsRefused) {
  Make();
  Spawn([] { pause(); });
  auto plan = PlanCreate(host_, {path_, "id"}, nullptr);
  auto second = Cgroup::Create(*plan);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(second.status().message(), HasSubstr("is in use"));
}

TEST_F(CgroupTest, KillAllReachesForkersAndDeleteRemovesInnerCgroups) {
  Make();
  Spawn([] {
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
      if (fork() == 0) {
        setsid();
        usleep(1000);
        if (fork() != 0) _exit(0);
      }
      usleep(500);
    }
  });
  usleep(20000);
  for (const Directory& directory : cgroup_.directories()) {
    ASSERT_EQ(mkdir((directory.path + "/inner").c_str(), 0755), 0);
    ASSERT_EQ(mkdir((directory.path + "/inner/deeper").c_str(), 0755), 0);
  }
  ASSERT_TRUE(cgroup_.KillAll(SIGKILL).ok());
  waitpid(children_[0], nullptr, 0);
  children_.clear();
  const absl::Status status = cgroup_.Delete();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_TRUE(cgroup_.Delete().ok()) << "a second time";
  auto pids = cgroup_.Pids();
  ASSERT_TRUE(pids.ok()) << pids.status();
  EXPECT_TRUE(pids->empty());
}

TEST_F(CgroupTest, FreezeStopsAndThawContinues) {
  if (host_.Find("freezer") == nullptr && !host_.unified_only()) GTEST_SKIP() << "needs a freezer";
  Make();
  auto* ticks = static_cast<std::atomic<int>*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  Spawn([ticks] {
    for (;;) {
      ++*ticks;
      usleep(1000);
    }
  });
  ASSERT_TRUE(cgroup_.Freeze().ok());
  EXPECT_EQ(*cgroup_.Freezer(), FreezerState::kFrozen);
  const int frozen = *ticks;
  usleep(30000);
  EXPECT_EQ(*ticks, frozen);
  ASSERT_TRUE(cgroup_.Thaw().ok());
  EXPECT_EQ(*cgroup_.Freezer(), FreezerState::kThawed);
  for (int i = 0; i < 1000 && *ticks == frozen; ++i) usleep(1000);
  EXPECT_GT(*ticks, frozen);
  // Killed while frozen.
  ASSERT_TRUE(cgroup_.Freeze().ok());
  ASSERT_TRUE(cgroup_.KillAll(SIGKILL).ok());
  waitpid(children_[0], nullptr, 0);
  children_.clear();
  munmap(ticks, 4096);
}

TEST_F(CgroupTest, AnOutOfMemoryKillIsReportedAndCounted) {
  if (host_.Find("memory") == nullptr) GTEST_SKIP() << "needs a memory controller";
  oci::Resources r;
  r.memory.emplace().limit = 16 << 20;
  r.memory->swap = 16 << 20;
  Make(r);
  auto watch = cgroup_.WatchOom();
  ASSERT_TRUE(watch.ok()) << watch.status();
  const pid_t pid = Spawn([] {
    constexpr size_t kSize = 64 << 20;
    void* memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(memory, 1, kSize);
  });
  pollfd poller = {watch->fd(), POLLIN, 0};
  // v2 tells of the limit that was met before it tells of the kill.
  bool killed = false;
  while (!killed && poll(&poller, 1, 10000) == 1) killed = watch->Read();
  EXPECT_TRUE(killed);
  int status = 0;
  waitpid(pid, &status, 0);
  children_.clear();
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  auto stats = cgroup_.GetStats();
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->memory.events.at("oom_kill"), 1u);
  EXPECT_EQ(stats->memory.usage.limit, uint64_t{16 << 20});
  EXPECT_GT(stats->memory.usage.max_usage, 0u);
}

TEST_F(CgroupTest, StatsCountProcessesAndTime) {
  if (host_.Find("pids") == nullptr) GTEST_SKIP() << "needs a pids controller";
  oci::Resources r;
  r.pids_limit = 11;
  Make(r);
  Spawn([] {
    std::atomic<int> work{0};
    while (work < 5000000) ++work;
    pause();
  });
  usleep(50000);
  auto stats = cgroup_.GetStats();
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_EQ(stats->pids_current, 1u);
  EXPECT_EQ(stats->pids_limit, 11u);
  EXPECT_GT(stats->cpu.usage_ns, 0u);
}

TEST_F(CgroupTest, DevicesAreDeniedUnlessAllowed) {
  if (!V1("devices")) GTEST_SKIP() << "needs the v1 controller devices";
  Make();
  EXPECT_THAT(Value("devices", "devices.list"), HasSubstr("c 1:3 rwm"));
  const std::string node = absl::StrCat("/tmp/gantry-cgroup-test-node-", getpid());
  ASSERT_EQ(mknod(node.c_str(), S_IFCHR | 0600, makedev(10, 237)), 0);  // loop-control
  const auto open_in = [&] {
    const pid_t pid = Spawn([&] {
      const int null = open("/dev/null", O_RDWR);
      _exit(null < 0 ? 1 : (open(node.c_str(), O_RDWR) >= 0 || errno != EPERM ? 2 : 3));
    });
    int status = 0;
    waitpid(pid, &status, 0);
    children_.clear();
    return WEXITSTATUS(status);
  };
  EXPECT_EQ(open_in(), 3) << "null opens, the other does not";
  oci::Resources r;
  r.devices = {{true, "c", 10, 237, "rw"}};
  ASSERT_TRUE(cgroup_.Update(r).ok());
  EXPECT_EQ(open_in(), 2);
  r.devices = {{false, "", {}, {}, "rwm"}};
  ASSERT_TRUE(cgroup_.Update(r).ok());
  EXPECT_EQ(open_in(), 3);
  unlink(node.c_str());
}

TEST_F(CgroupTest, TheDeviceProgramIsTakenByTheKernel) {
  if (host_.Unified() == nullptr) GTEST_SKIP() << "needs a v2 hierarchy";
  Make();
  DevicePolicy policy = *PlanDevices({{true, "c", 1, 3, "rw"}});
  policy.exceptions = {{'c', 1, 3, "rw"}, {'b', -1, -1, "m"}, {'c', 5, -1, "r"}};
  const std::string path = cgroup_.PathOf("");
  absl::Status status = AttachDevicePolicy(path, policy);
  if (sys::ErrnoOf(status) == EPERM || sys::ErrnoOf(status) == ENOSYS) GTEST_SKIP() << status;
  ASSERT_TRUE(status.ok()) << status;
  const auto opens = [&](const char* device) {
    const pid_t pid = Spawn([device] { _exit(open(device, O_RDONLY) >= 0 ? 0 : 1); });
    int result = 0;
    waitpid(pid, &result, 0);
    children_.clear();
    return result == 0;
  };
  EXPECT_TRUE(opens("/dev/null"));
  EXPECT_FALSE(opens("/dev/zero"));
  policy.exceptions = {{'c', 1, 5, "rwm"}};
  ASSERT_TRUE(AttachDevicePolicy(path, policy).ok());
  EXPECT_FALSE(opens("/dev/null"));
  EXPECT_TRUE(opens("/dev/zero"));
}

}  // namespace
}  // namespace gantry::cgroup
