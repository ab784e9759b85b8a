#include "runtime/cgroup/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/cgroup/device_program.h"

namespace gantry::cgroup {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kHybridMounts[] =
    "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"
    "34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
    "36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices\n"
    "38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio\n"
    "39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
constexpr char kHybridSelf[] =
    "8:pids:/me\n7:blkio:/me\n6:devices:/me\n5:memory:/me\n3:cpuset:/me\n2:cpu,cpuacct:/me\n1:name=systemd:/"
    "me\n"
    "0::/me\n";

Host Hybrid() { return ParseHost(kHybridMounts, kHybridSelf, "hugetlb\n"); }
Host Unified(const char* self = "0::/user.slice/session.scope\n") {
  return ParseHost("26 22 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", self,
                   "cpuset cpu io memory hugetlb pids rdma\n");
}

// "file=value" of all writes but those for devices.
std::vector<std::string> Lines(const Plan& plan) {
  std::vector<std::string> lines;
  for (const FileWrite& write : plan.writes) {
    if (write.setting != "linux.resources.devices")
      lines.push_back(absl::StrCat(write.file, "=", write.value));
  }
  return lines;
}

std::vector<std::string> Written(const Host& host, const oci::Resources& resources) {
  auto plan = PlanCreate(host, {"/a", "id"}, &resources);
  if (!plan.ok()) return {std::string(plan.status().message())};
  return Lines(*plan);
}

TEST(PlanTest, AnOrdinaryUserGetsACgroupOnlyWhereOneCanBeHad) {
  Host host = Hybrid();
  host.privileged = false;
  for (Hierarchy& hierarchy : host.hierarchies) hierarchy.writable = hierarchy.Has("memory");
  oci::Resources resources;
  resources.memory.emplace().limit = 1 << 20;
  resources.devices.push_back({.allow = false, .access = "rwm"});
  auto plan = PlanCreate(host, {"", "id"}, &resources);
  ASSERT_TRUE(plan.ok()) << plan.status();
  ASSERT_EQ(plan->directories.size(), 1u);
  EXPECT_EQ(plan->directories[0].path, "/sys/fs/cgroup/memory/me/id");
  ASSERT_EQ(plan->writes.size(), 1u) << "device rules are root's";
  EXPECT_FALSE(plan->device_program.has_value());

  resources.pids_limit = 10;  // a limit that cannot be had is no limit
  EXPECT_THAT(std::string(PlanCreate(host, {"", "id"}, &resources).status().message()),
              HasSubstr("pids.limit: this host has no \"pids\" cgroup controller, or none for this user"));
  resources.pids_limit.reset();
  // A place that was asked for must be had.
  plan = PlanCreate(host, {"/a", "id"}, &resources);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->directories.size(), host.hierarchies.size());
}

TEST(HostTest, ReadsHybridMounts) {
  const Host host = Hybrid();
  ASSERT_EQ(host.hierarchies.size(), 8u);
  EXPECT_FALSE(host.unified_only());
  ASSERT_NE(host.Find("cpuacct"), nullptr);
  EXPECT_EQ(host.Find("cpuacct")->mount_point, "/sys/fs/cgroup/cpu,cpuacct");
  EXPECT_EQ(host.Find("memory")->version, 1);
  EXPECT_EQ(host.Find("hugetlb")->version, 2);
  EXPECT_EQ(host.Find("freezer"), nullptr);
  EXPECT_EQ(host.Unified()->mount_point, "/sys/fs/cgroup/unified");
}

TEST(HostTest, AMountOfASubtreeShortensOwnPaths) {
  const Host host =
      ParseHost("35 31 0:32 /docker/x /sys/fs/cgroup/mem\\040ory rw - cgroup cgroup rw,memory\n",
                "5:memory:/docker/x/y\n", "");
  ASSERT_EQ(host.hierarchies.size(), 1u);
  EXPECT_EQ(host.hierarchies[0].mount_point, "/sys/fs/cgroup/mem ory");
  EXPECT_EQ(host.hierarchies[0].self, "/y");
}

TEST(PlanTest, PathsStayBelowTheMountPoint) {
  const auto path = [](const Host& host, const std::string& wanted) {
    auto plan = PlanCreate(host, {wanted, "id"}, nullptr);
    return plan.ok() ? plan->directories.back().path : std::string(plan.status().message());
  };
  EXPECT_EQ(path(Hybrid(), "/a/b"), "/sys/fs/cgroup/unified/a/b");
  EXPECT_EQ(path(Hybrid(), "a/b"), "/sys/fs/cgroup/unified/me/a/b");
  EXPECT_EQ(path(Hybrid(), ""), "/sys/fs/cgroup/unified/me/id");
  EXPECT_EQ(path(Hybrid(), "/../../../etc//./x/../y"), "/sys/fs/cgroup/unified/etc/y");
  EXPECT_EQ(path(Hybrid(), "../../x"), "/sys/fs/cgroup/unified/me/x");
  EXPECT_THAT(path(Hybrid(), "/.."), HasSubstr("cgroupsPath"));
  EXPECT_EQ(path(Unified(), "a"), "/sys/fs/cgroup/user.slice/a");
  EXPECT_EQ(path(Unified("0::/\n"), ""), "/sys/fs/cgroup/id");
}

TEST(PlanTest, OnlyWhatIsAskedForIsWritten) {
  auto plan = PlanCreate(Hybrid(), {"/a", "id"}, nullptr);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(Lines(*plan), ElementsAre());
  EXPECT_EQ(plan->directories.size(), 8u);
  EXPECT_FALSE(plan->device_program.has_value());
  EXPECT_TRUE(plan->directories.back().enable.empty());
}

TEST(PlanTest, VersionOneLimits) {
  oci::Resources r;
  r.memory.emplace().limit = 100;
  r.memory->swap = 200;
  r.memory->reservation = 50;
  r.memory->swappiness = 7;
  r.memory->disable_oom_killer = true;
  r.cpu.emplace().shares = 512;
  r.cpu->quota = 20000;
  r.cpu->period = 50000;
  r.cpu->burst = 10;
  r.cpu->cpus = "0";
  r.cpu->mems = "0-1";
  r.pids_limit = 20;
  r.hugepage_limits = {{"2MB", 64}};
  EXPECT_THAT(Written(Hybrid(), r),
              ElementsAre("memory.limit_in_bytes=100", "memory.memsw.limit_in_bytes=200",
                          "memory.soft_limit_in_bytes=50", "memory.swappiness=7", "memory.oom_control=1",
                          "cpu.shares=512", "cpu.cfs_period_us=50000", "cpu.cfs_quota_us=20000",
                          "cpu.cfs_burst_us=10", "cpuset.cpus=0", "cpuset.mems=0-1", "pids.max=20",
                          "hugetlb.2MB.max=64", "hugetlb.2MB.rsvd.max=64"));
  // The one controller of version 2 here has to be switched on.
  auto plan = PlanCreate(Hybrid(), {"/a", "id"}, &r);
  EXPECT_THAT(plan->directories.back().enable, ElementsAre("hugetlb"));
}

TEST(PlanTest, NoLimitOpensSwapBeforeMemory) {
  oci::Resources r;
  r.memory.emplace().limit = -1;
  EXPECT_THAT(Written(Hybrid(), r),
              ElementsAre("memory.memsw.limit_in_bytes=-1", "memory.limit_in_bytes=-1"));
  r.memory->swap = -1;
  EXPECT_THAT(Written(Hybrid(), r),
              ElementsAre("memory.memsw.limit_in_bytes=-1", "memory.limit_in_bytes=-1"));
  r = {};
  r.pids_limit = -1;
  EXPECT_THAT(Written(Hybrid(), r), ElementsAre("pids.max=max"));
}

TEST(PlanTest, VersionTwoLimits) {
  oci::Resources r;
  r.memory.emplace().limit = 100;
  r.memory->swap = 150;
  r.memory->reservation = -1;
  r.cpu.emplace().shares = 1024;
  r.cpu->quota = 20000;
  r.cpu->period = 50000;
  r.cpu->burst = 10;
  r.pids_limit = 20;
  r.block_io.emplace().weight = 300;
  r.block_io->throttle_read_bps = {{8, 0, 1048576}};
  r.hugepage_limits = {{"2MB", 64}};
  r.rdma["mlx"].hca_handles = 3;
  r.unified["memory.high"] = "90";
  EXPECT_THAT(Written(Unified(), r),
              ElementsAre("memory.swap.max=50", "memory.max=100", "memory.low=max", "cpu.weight=100",
                          "cpu.max=20000 50000", "cpu.max.burst=10", "pids.max=20", "io.weight=2930",
                          "io.max=8:0 rbps=1048576", "hugetlb.2MB.max=64", "hugetlb.2MB.rsvd.max=64",
                          "rdma.max=mlx hca_handle=3", "memory.high=90"));
  auto plan = PlanCreate(Unified(), {"/a", "id"}, &r);
  EXPECT_TRUE(plan->device_program.has_value());
  EXPECT_THAT(plan->directories[0].enable, Contains("memory"));
}

TEST(PlanTest, AMissingControllerIsAnErrorOnlyIfALimitNeedsIt) {
  oci::Resources r;
  r.network.emplace().class_id = 5;
  EXPECT_THAT(Written(Hybrid(), r), ElementsAre(HasSubstr("network.classID: this host has no \"net_cls\"")));
  r = {};
  r.unified["memory.high"] = "1";
  EXPECT_THAT(Written(Hybrid(), r), ElementsAre(HasSubstr("unified.memory.high: needs the version 2")));
  r = {};
  r.memory.emplace().swap = 5;
  EXPECT_THAT(Written(Unified(), r), ElementsAre(HasSubstr("memory.limit must be given too")));
  EXPECT_TRUE(PlanCreate(Host{}, {"/a", "id"}, nullptr).ok());
}

TEST(PlanTest, WeightsFollowTheirCurves) {
  EXPECT_EQ(WeightFromShares(2), 1u);
  EXPECT_EQ(WeightFromShares(1024), 100u);
  EXPECT_EQ(WeightFromShares(262144), 10000u);
  EXPECT_EQ(IoWeightFromBlkio(10), 1u);
  EXPECT_EQ(IoWeightFromBlkio(1000), 10000u);
}

TEST(DevicesTest, NothingIsAllowedByDefaultButTheDefaultDevices) {
  auto policy = PlanDevices({});
  ASSERT_TRUE(policy.ok());
  EXPECT_FALSE(policy->default_allow);
  const auto writes = DeviceWrites(*policy, 3);
  EXPECT_EQ(writes[0].file, "devices.deny");
  EXPECT_EQ(writes[0].value, "a");
  EXPECT_EQ(writes[1].value, "c *:* m");
  EXPECT_EQ(writes[1].directory, 3u);
}

oci::DeviceRule Rule(bool allow, const char* type, std::optional<int64_t> major, std::optional<int64_t> minor,
                     const char* access) {
  return {allow, type, major, minor, access};
}

TEST(DevicesTest, RulesApplyInOrder) {
  const DeviceRule fuse{'c', 10, 229, "rw"};
  const oci::DeviceRule deny_all = Rule(false, "", {}, {}, "rwm");
  const auto allow = Rule(true, "c", 10, 229, "rw"), deny = Rule(false, "c", 10, 229, "rw");
  EXPECT_THAT(PlanDevices({deny_all, deny, allow})->exceptions, Contains(fuse));
  EXPECT_THAT(PlanDevices({deny_all, allow, deny})->exceptions, ::testing::Not(Contains(fuse)));
  EXPECT_THAT(PlanDevices({allow, deny_all})->exceptions, ::testing::Not(Contains(fuse)));
  EXPECT_TRUE(PlanDevices({deny_all, Rule(true, "a", {}, {}, "rwm")})->default_allow);
  EXPECT_TRUE(PlanDevices({Rule(true, "a", -1, -1, "")})->exceptions.empty());
  // Partial access to everything is not access to everything.
  auto reading = PlanDevices({Rule(true, "a", {}, {}, "r")});
  EXPECT_FALSE(reading->default_allow);
  EXPECT_THAT(reading->exceptions, Contains(DeviceRule{'b', -1, -1, "rm"}));
  auto except = PlanDevices({Rule(true, "a", {}, {}, "rwm"), deny});
  EXPECT_THAT(except->exceptions, ElementsAre(fuse));
  EXPECT_EQ(DeviceWrites(*except, 0)[1].file, "devices.deny");
}

TEST(DevicesTest, AHoleInABroaderRuleIsRefused) {
  EXPECT_THAT(PlanDevices({Rule(true, "c", 10, {}, "rw"), Rule(false, "c", 10, 229, "w")}).status().message(),
              HasSubstr("linux.resources.devices[1]"));
}

// Runs a device program as the kernel would, for the instructions that DeviceProgram uses.
bool Allowed(const DevicePolicy& policy, uint32_t type, uint32_t access, uint32_t major, uint32_t minor) {
  const std::vector<bpf_insn> program = DeviceProgram(policy);
  const uint32_t context[] = {access << 16 | type, major, minor};
  uint64_t r[11] = {};
  for (size_t pc = 0; pc < program.size(); ++pc) {
    const bpf_insn& i = program[pc];
    switch (i.code) {
      case BPF_LDX | BPF_MEM | BPF_W:
        r[i.dst_reg] = context[i.off / 4];
        break;
      case BPF_ALU64 | BPF_MOV | BPF_K:
        r[i.dst_reg] = static_cast<uint32_t>(i.imm);
        break;
      case BPF_ALU64 | BPF_MOV | BPF_X:
        r[i.dst_reg] = r[i.src_reg];
        break;
      case BPF_ALU64 | BPF_AND | BPF_K:
        r[i.dst_reg] &= static_cast<uint32_t>(i.imm);
        break;
      case BPF_ALU64 | BPF_RSH | BPF_K:
        r[i.dst_reg] >>= i.imm;
        break;
      case BPF_JMP32 | BPF_JNE | BPF_K:
        if (r[i.dst_reg] != static_cast<uint32_t>(i.imm)) pc += i.off;
        break;
      case BPF_JMP32 | BPF_JEQ | BPF_K:
        if (r[i.dst_reg] == static_cast<uint32_t>(i.imm)) pc += i.off;
        break;
      case BPF_JMP | BPF_EXIT:
        return r[0] != 0;
      default:
        ADD_FAILURE() << "instruction " << int{i.code};
        return false;
    }
  }
  ADD_FAILURE() << "ran off the end";
  return false;
}

TEST(DeviceProgramTest, JudgesLikeThePolicy) {
  constexpr uint32_t kBlock = BPF_DEVCG_DEV_BLOCK, kChar = BPF_DEVCG_DEV_CHAR;
  constexpr uint32_t kRead = BPF_DEVCG_ACC_READ, kWrite = BPF_DEVCG_ACC_WRITE, kMknod = BPF_DEVCG_ACC_MKNOD;
  const DevicePolicy deny = *PlanDevices({Rule(true, "c", 10, 229, "r"), Rule(true, "b", 8, {}, "rw")});
  EXPECT_TRUE(Allowed(deny, kChar, kRead | kWrite, 1, 3));
  EXPECT_TRUE(Allowed(deny, kChar, kRead, 10, 229));
  EXPECT_FALSE(Allowed(deny, kChar, kWrite, 10, 229));
  EXPECT_FALSE(Allowed(deny, kChar, kRead | kWrite, 10, 229));
  EXPECT_FALSE(Allowed(deny, kBlock, kRead, 10, 229));
  EXPECT_TRUE(Allowed(deny, kBlock, kRead | kWrite, 8, 77));
  EXPECT_FALSE(Allowed(deny, kBlock, kRead, 7, 0));
  EXPECT_TRUE(Allowed(deny, kBlock, kMknod, 7, 0));
  const DevicePolicy allow = *PlanDevices({Rule(true, "a", {}, {}, "rwm"), Rule(false, "c", 10, 229, "w")});
  EXPECT_TRUE(Allowed(allow, kChar, kRead, 10, 229));
  EXPECT_FALSE(Allowed(allow, kChar, kWrite, 10, 229));
  EXPECT_FALSE(Allowed(allow, kChar, kRead | kWrite, 10, 229));
  EXPECT_TRUE(Allowed(allow, kBlock, kWrite, 7, 0));
}

TEST(DirectoriesTest, AreReadBackAsTheyWereWritten) {
  auto plan = PlanCreate(Unified(), {"/a b\tc", "id"}, nullptr);
  ASSERT_TRUE(plan.ok());
  auto again = ParseDirectories(FormatDirectories(plan->directories));
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(*again, plan->directories);
  EXPECT_FALSE(ParseDirectories("1\tmemory\t/x\n").ok());
}

}  // namespace
}  // namespace gantry::cgroup
