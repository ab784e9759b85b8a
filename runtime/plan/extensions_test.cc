// What the specification added late: memory policies, resource control groups, network devices, CPU affinity.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/mempolicy.h>

#include "runtime/plan/bit_list.h"
#include "runtime/plan/planner.h"
#include "runtime/plan/print.h"

namespace gantry::plan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class ExtensionsTest : public testing::Test {
 protected:
  ExtensionsTest() : spec_(oci::DefaultSpec()) {
    spec_.process->terminal = false;
    facts_.cgroup.hierarchies = {{1, {"memory"}, "/sys/fs/cgroup/memory", "/"}};
    facts_.capabilities = facts_.known_capabilities = (uint64_t{1} << 41) - 1;
  }

  Plan Make() {
    CreateRequest request;
    request.spec = &spec_;
    request.id = "c1";
    request.bundle = "/bundle";
    auto plan = PlanCreate(request, facts_);
    EXPECT_TRUE(plan.ok()) << plan.status();
    return plan.ok() ? *std::move(plan) : Plan();
  }
  Plan MakeExec() {
    ExecRequest request;
    request.process = &*spec_.process;
    request.spec = &spec_;
    request.id = "c1";
    auto plan = PlanExec(request, facts_);
    EXPECT_TRUE(plan.ok()) << plan.status();
    return plan.ok() ? *std::move(plan) : Plan();
  }
  template <typename Op>
  static std::vector<Op> All(const Plan& plan) {
    std::vector<Op> found;
    for (const Operation& operation : plan.operations) {
      if (const auto* op = std::get_if<Op>(&operation)) found.push_back(*op);
    }
    return found;
  }

  oci::Spec spec_;
  HostFacts facts_;
};

TEST(BitList, IsRangesAndNumbers) {
  EXPECT_THAT(*ParseBitList("0-3,7", "x"), ElementsAre(0x8f));
  EXPECT_THAT(*ParseBitList("64", "x"), ElementsAre(0, 1));
  for (const char* bad : {"", ",", "3-1", "a", "-1", "1-", "8192", "0-4294967295"}) {
    EXPECT_THAT(std::string(ParseBitList(bad, "member").status().message()), HasSubstr("member: ")) << bad;
  }
}

TEST_F(ExtensionsTest, AMemoryPolicyIsOneCallAfterTheCgroup) {
  spec_.linux->memory_policy = {"MPOL_BIND", "0-1,65", {"MPOL_F_STATIC_NODES", "MPOL_F_NUMA_BALANCING"}};
  for (const Plan& plan : {Make(), MakeExec()}) {
    const auto found = All<SetMemoryPolicy>(plan);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].mode, MPOL_BIND | MPOL_F_STATIC_NODES | MPOL_F_NUMA_BALANCING);
    EXPECT_THAT(found[0].nodes, ElementsAre(3, 2));
    const std::string text = ToText(plan);
    EXPECT_LT(text.find("JoinCgroup"), text.find("SetMemoryPolicy"));
    EXPECT_THAT(text, HasSubstr("name=MPOL_BIND"));
  }
  spec_.linux->memory_policy = {"MPOL_LOCAL", "", {}};
  EXPECT_THAT(All<SetMemoryPolicy>(Make())[0].nodes, IsEmpty());
}

TEST_F(ExtensionsTest, NetworkDevicesMoveBeforeAnythingIsSetOfThem) {
  spec_.linux->net_devices = {{"eth0", {"inner"}}, {"eth1", {}}};
  spec_.linux->sysctl = {{"net.ipv4.conf.inner.forwarding", "1"}};
  const Plan plan = Make();
  const auto moves = All<MoveNetDevice>(plan);
  ASSERT_EQ(moves.size(), 2u);
  EXPECT_EQ(moves[0].name, "eth0");
  EXPECT_EQ(moves[0].new_name, "inner");
  EXPECT_EQ(moves[0].network, kNoSlot);
  EXPECT_EQ(moves[1].new_name, "eth1");
  const std::string text = ToText(plan);
  EXPECT_LT(text.find("Clone "), text.find("MoveNetDevice"));
  EXPECT_LT(text.find("MoveNetDevice"), text.find("AwaitNetDevices"));
  EXPECT_LT(text.find("AwaitNetDevices"), text.find("WriteSysctl"));
  spec_.linux->net_devices.clear();
  EXPECT_THAT(ToText(Make()), Not(HasSubstr("NetDevice")));
}

TEST_F(ExtensionsTest, NetworkDevicesGoIntoAJoinedNamespaceByItsDescriptor) {
  spec_.linux->net_devices = {{"eth0", {}}};
  for (oci::Namespace& ns : spec_.linux->namespaces) {
    if (ns.type == oci::NamespaceType::kNetwork) ns.path = "/run/netns/n";
  }
  const Plan plan = Make();
  ASSERT_EQ(All<OpenNamespace>(plan).size(), 1u);
  EXPECT_EQ(All<MoveNetDevice>(plan)[0].network, All<OpenNamespace>(plan)[0].slot);
}

TEST_F(ExtensionsTest, ACacheClassOfTheContainersOwnGoesWithIt) {
  spec_.linux->intel_rdt.emplace();
  spec_.linux->intel_rdt->l3_cache_schema = "L3:0=f";
  spec_.linux->intel_rdt->mem_bw_schema = "MB:0=20";
  spec_.linux->intel_rdt->schemata = {"L2:0=1"};
  const auto open = All<OpenResctrlGroup>(Make());
  ASSERT_EQ(open.size(), 1u);
  EXPECT_EQ(open[0].group, "c1");
  EXPECT_TRUE(open[0].exclusive && open[0].create);
  EXPECT_THAT(open[0].must_hold, ElementsAre("L3:0=f", "MB:0=20"));
  EXPECT_THAT(open[0].schemata, ElementsAre("L2:0=1"));
  EXPECT_THAT(OwnResctrlGroups(*spec_.linux, "c1"), ElementsAre("c1"));
  // A further process joins what is there.
  EXPECT_THAT(All<OpenResctrlGroup>(MakeExec()), IsEmpty());
  EXPECT_EQ(All<JoinResctrlGroup>(MakeExec())[0].group, "c1");
}

TEST_F(ExtensionsTest, ANamedCacheClassStays) {
  spec_.linux->intel_rdt.emplace();
  spec_.linux->intel_rdt->clos_id = "gold";
  EXPECT_FALSE(All<OpenResctrlGroup>(Make())[0].create);
  EXPECT_THAT(OwnResctrlGroups(*spec_.linux, "c1"), IsEmpty());
  spec_.linux->intel_rdt->enable_monitoring = true;
  EXPECT_EQ(All<JoinResctrlGroup>(Make())[0].monitor, "c1");
  EXPECT_THAT(OwnResctrlGroups(*spec_.linux, "c1"), ElementsAre("gold/mon_groups/c1"));
  spec_.linux->intel_rdt->clos_id = "/";
  EXPECT_EQ(All<OpenResctrlGroup>(Make())[0].group, "");
  EXPECT_THAT(OwnResctrlGroups(*spec_.linux, "c1"), ElementsAre("mon_groups/c1"));
  spec_.linux->intel_rdt->schemata = {"L3:0=f"};
  EXPECT_TRUE(All<OpenResctrlGroup>(Make())[0].create);
}

TEST_F(ExtensionsTest, ExecRunsOnItsFirstCpusUntilItsCgroup) {
  spec_.process->exec_cpu_affinity = {"0-1", "2"};
  Plan plan = MakeExec();
  EXPECT_THAT(All<RunOnCpus>(plan)[0].mask, ElementsAre(3));
  EXPECT_THAT(All<SetCpuAffinity>(plan)[0].mask, ElementsAre(4));
  const std::string text = ToText(plan);
  EXPECT_LT(text.find("RunOnCpus"), text.find("JoinCgroup"));
  EXPECT_LT(text.find("JoinCgroup"), text.find("SetCpuAffinity"));
  spec_.process->exec_cpu_affinity = {"0", ""};
  EXPECT_THAT(All<SetCpuAffinity>(MakeExec()), IsEmpty());
  // It is not for init.
  EXPECT_THAT(All<RunOnCpus>(Make()), IsEmpty());
}

TEST_F(ExtensionsTest, AJoinedMountNamespaceStaysAsItIs) {
  for (oci::Namespace& ns : spec_.linux->namespaces) {
    if (ns.type == oci::NamespaceType::kMount) ns.path = "/run/mnt";
  }
  const Plan plan = Make();
  const Slot slot = All<OpenNamespace>(plan)[0].slot;
  EXPECT_EQ(All<OpenTree>(plan)[0].mount_namespace, slot) << "its root is looked up there";
  EXPECT_THAT(All<SlaveMounts>(plan), IsEmpty());
  ASSERT_EQ(All<SwitchRoot>(plan).size(), 1u);
  EXPECT_TRUE(All<SwitchRoot>(plan)[0].shared);
  EXPECT_FALSE(All<SwitchRoot>(plan)[0].pivot);
  // chroot(2) holds only who cannot call it.
  EXPECT_EQ(All<SetCapabilities>(plan)[0].bounding >> 18 & 1, 0u);
  EXPECT_THAT(plan.warnings, testing::Contains(HasSubstr("CAP_SYS_CHROOT")));
  EXPECT_TRUE(All<JoinProcess>(MakeExec())[0].enter_root);
}

class RootlessPlanTest : public ExtensionsTest {
 protected:
  RootlessPlanTest() {
    facts_.capabilities = 0;
    facts_.cgroup.privileged = false;
    facts_.uid = 1000;
    facts_.gid = 100;
    spec_.linux->namespaces.push_back({oci::NamespaceType::kUser, ""});
    spec_.linux->uid_mappings = {{0, 1000, 1}};
    spec_.linux->gid_mappings = {{0, 100, 1}};
  }
};

TEST_F(RootlessPlanTest, AnOrdinaryUserDoesAllInsideHisUserNamespace) {
  const Plan plan = Make();
  const std::string text = ToText(plan);
  EXPECT_LT(text.find("Clone "), text.find("OpenTree ")) << "the child copies the mounts";
  EXPECT_LT(text.find("AwaitIdMaps"), text.find("OpenTree "));
  EXPECT_LT(text.rfind("OpenTree "), text.find("AttachRoot"));
  EXPECT_THAT(All<MakeDevice>(plan), IsEmpty());
  EXPECT_TRUE(All<CreateCgroup>(plan)[0].optional);
  EXPECT_TRUE(All<Clone>(plan)[0].dumpable);
  const auto maps = All<WriteIdMaps>(plan);
  ASSERT_EQ(maps.size(), 1u);
  EXPECT_EQ(maps[0].uid_program, "");
  EXPECT_EQ(maps[0].gid_program, "");
  EXPECT_TRUE(maps[0].deny_setgroups);
  EXPECT_FALSE(All<SetUser>(plan)[0].set_groups);
  EXPECT_THAT(plan.warnings, testing::Contains(HasSubstr("gid=5 is left out")));
}

TEST_F(RootlessPlanTest, MoreNumbersNeedTheProgramsForIt) {
  spec_.linux->uid_mappings.push_back({1, 100000, 65536});
  spec_.linux->gid_mappings.push_back({1, 100000, 65536});
  const auto maps = All<WriteIdMaps>(Make());
  EXPECT_EQ(maps[0].uid_program, "newuidmap");
  EXPECT_EQ(maps[0].gid_program, "newgidmap");
  EXPECT_FALSE(maps[0].deny_setgroups);
  EXPECT_TRUE(All<SetUser>(Make())[0].set_groups);
  spec_.linux->uid_mappings = {{0, 1001, 1}};
  EXPECT_EQ(All<WriteIdMaps>(Make())[0].uid_program, "newuidmap") << "another's number";
}

TEST_F(RootlessPlanTest, WhatAnOrdinaryUserCannotHaveIsAnError) {
  CreateRequest request;
  request.spec = &spec_;
  request.id = "c1";
  request.bundle = "/bundle";
  spec_.process->user.additional_gids = {7};
  EXPECT_THAT(std::string(PlanCreate(request, facts_).status().message()), HasSubstr("additionalGids"));
  spec_.process->user.additional_gids.clear();
  request.rootless = false;
  EXPECT_FALSE(All<CreateCgroup>(*PlanCreate(request, facts_))[0].optional);
  request.rootfs_mounts = {{"overlay", "overlay", "", {"lowerdir=/a:/b"}}};
  EXPECT_THAT(std::string(PlanCreate(request, facts_).status().message()), HasSubstr("needs root"));
  request.rootfs_mounts.clear();
  spec_.linux->namespaces.pop_back();
  EXPECT_THAT(std::string(PlanCreate(request, facts_).status().message()),
              HasSubstr("needs a user namespace"));
}

TEST_F(RootlessPlanTest, RootOfAUserNamespaceNeedsNoOther) {
  facts_.capabilities = facts_.known_capabilities;
  facts_.uid = 0;
  spec_.linux->namespaces.pop_back();
  spec_.linux->uid_mappings.clear();
  spec_.linux->gid_mappings.clear();
  const Plan plan = Make();
  EXPECT_TRUE(All<CreateCgroup>(plan)[0].optional);
  EXPECT_THAT(All<WriteIdMaps>(plan), IsEmpty());
  spec_.linux->resources->pids_limit = 5;
  facts_.cgroup.hierarchies = {{1, {"pids"}, "/sys/fs/cgroup/pids", "/"}};
  EXPECT_FALSE(All<CreateCgroup>(Make())[0].optional) << "a limit is no limit if it may be left out";
}

}  // namespace
}  // namespace gantry::plan
