#include "runtime/plan/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>

#include <algorithm>

#include "runtime/oci/features.h"
#include "runtime/plan/capabilities.h"
#include "runtime/plan/mount_options.h"

namespace gantry::plan {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct NameOf {
  template <typename Op>
  std::string operator()(const Op&) const {
    return Op::kName;
  }
};

HostFacts Facts() {
  HostFacts facts;
  facts.cgroup.hierarchies = {{1, {"memory"}, "/sys/fs/cgroup/memory", "/"},
                              {1, {"cpu", "cpuacct"}, "/sys/fs/cgroup/cpu,cpuacct", "/"}};
  facts.capabilities = facts.known_capabilities = (uint64_t{1} << 41) - 1;
  facts.overlay_lowerdir_append = true;
  return facts;
}

class PlannerTest : public testing::Test {
 protected:
  PlannerTest() : spec_(oci::DefaultSpec()) {
    spec_.process->terminal = false;
    request_.spec = &spec_;
    request_.id = "c1";
    request_.bundle = "/bundle";
  }

  Plan Make(const HostFacts& facts = Facts()) {
    auto plan = PlanCreate(request_, facts);
    EXPECT_TRUE(plan.ok()) << plan.status();
    return plan.ok() ? *std::move(plan) : Plan();
  }
  std::string Refusal(const HostFacts& facts = Facts()) {
    return std::string(PlanCreate(request_, facts).status().message());
  }

  template <typename Op>
  static std::vector<Op> All(const Plan& plan) {
    std::vector<Op> found;
    for (const Operation& operation : plan.operations) {
      if (const auto* op = std::get_if<Op>(&operation)) found.push_back(*op);
    }
    return found;
  }
  // Where the first operation of that name stands.
  static size_t At(const Plan& plan, const std::string& name) {
    for (size_t i = 0; i < plan.operations.size(); i++) {
      if (std::visit(NameOf{}, plan.operations[i]) == name) return i;
    }
    ADD_FAILURE() << name << " is not in the plan";
    return 0;
  }

  oci::Spec spec_;
  CreateRequest request_;
};

TEST_F(PlannerTest, TheOrderIsTheSecurity) {
  spec_.linux->seccomp.emplace();
  const Plan plan = Make();
  const char* order[] = {"CreateCgroup",
                         "OpenTree",
                         "Clone",
                         "JoinCgroup",
                         "UnshareCgroupNamespace",
                         "SlaveMounts",
                         "AttachRoot",
                         "MountFilesystem",
                         "MakeDevice",
                         "MaskPath",
                         "SwitchRoot",
                         "SetStdio",
                         "SetUser",
                         "SetCapabilities",
                         "CloseDescriptors",
                         "FindProgram",
                         "AwaitStart",
                         "SetNoNewPrivileges",
                         "LoadSeccomp",
                         "Exec"};
  for (size_t i = 1; i < std::size(order); i++) {
    EXPECT_LT(At(plan, order[i - 1]), At(plan, order[i])) << order[i - 1] << " before " << order[i];
  }
}

TEST_F(PlannerTest, NewNamespacesAreCloneFlags) {
  const auto clone = All<Clone>(Make());
  ASSERT_EQ(clone.size(), 1u);
  EXPECT_EQ(clone[0].flags.value,
            static_cast<uint64_t>(CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS));
  EXPECT_FALSE(clone[0].helper);
}

TEST_F(PlannerTest, JoinedNamespacesAreEnteredByTheChildWherePossible) {
  for (oci::Namespace& entry : spec_.linux->namespaces) {
    if (entry.type == oci::NamespaceType::kNetwork) entry.path = "/proc/7/ns/net";
  }
  const Plan plan = Make();
  EXPECT_FALSE(All<Clone>(plan)[0].helper);
  ASSERT_EQ(All<JoinNamespace>(plan).size(), 1u);
  EXPECT_TRUE(All<LoopbackUp>(plan).empty());
}

TEST_F(PlannerTest, AJoinedPidNamespaceNeedsAHelper) {
  for (oci::Namespace& entry : spec_.linux->namespaces) {
    if (entry.type == oci::NamespaceType::kPid) entry.path = "/proc/7/ns/pid";
  }
  const Plan plan = Make();
  EXPECT_TRUE(All<Clone>(plan)[0].helper);
  EXPECT_TRUE(All<JoinNamespace>(plan)[0].by_helper);
}

TEST_F(PlannerTest, WithoutAMountNamespaceThereIsNoPlan) {
  spec_.linux->namespaces.clear();
  EXPECT_THAT(Refusal(), HasSubstr("\"mount\""));
}

TEST_F(PlannerTest, AUserNamespaceBindsDevicesAndMapsIds) {
  spec_.linux->namespaces.push_back({oci::NamespaceType::kUser, ""});
  EXPECT_THAT(Refusal(), HasSubstr("uidMappings"));
  spec_.linux->uid_mappings = spec_.linux->gid_mappings = {{0, 100000, 65536}};
  const Plan plan = Make();
  EXPECT_TRUE(All<MakeDevice>(plan).empty());
  EXPECT_LT(At(plan, "AwaitIdMaps"), At(plan, "BecomeRoot"));
  EXPECT_LT(At(plan, "AttachRoot"), At(plan, "BecomeRoot"));
}

TEST_F(PlannerTest, ContainerdsOverlayIsOneLowerdirPerLayer) {
  request_.rootfs_mounts = {
      {"overlay", "overlay", "", {"lowerdir=/a:/b\\:c", "upperdir=/u", "workdir=/w", "volatile"}}};
  const auto mounts = All<NewMount>(Make());
  ASSERT_EQ(mounts.size(), 1u);
  EXPECT_EQ(mounts[0].slot, kRootSlot);
  std::vector<std::string> params;
  for (const Param& param : mounts[0].params) params.push_back(param.key + "=" + param.value.value_or(""));
  EXPECT_THAT(params,
              ElementsAre("lowerdir+=/a", "lowerdir+=/b:c", "upperdir=/u", "workdir=/w", "volatile="));
}

TEST_F(PlannerTest, AnOldKernelMountsTheOverlayByPath) {
  HostFacts facts = Facts();
  facts.overlay_lowerdir_append = false;
  request_.rootfs_mounts = {{"overlay", "overlay", "", {"lowerdir=/a:/b", "upperdir=/u", "workdir=/w"}}};
  const auto mounts = All<MountRootByPath>(Make(facts));
  ASSERT_EQ(mounts.size(), 1u);
  EXPECT_EQ(mounts[0].data, "lowerdir=/a:/b,upperdir=/u,workdir=/w");
  EXPECT_EQ(mounts[0].path, "/bundle/rootfs");
}

TEST_F(PlannerTest, WithoutNoNewPrivilegesTheFilterComesBeforeTheLastCapabilities) {
  spec_.linux->seccomp.emplace();
  spec_.process->no_new_privileges = false;
  const auto sets = All<SetCapabilities>(Make());
  ASSERT_EQ(sets.size(), 2u);
  EXPECT_FALSE(sets[0].final);
  EXPECT_TRUE(sets[1].final);
}

TEST_F(PlannerTest, CapabilitiesThatWeLackAreLeftOutWithAWarning) {
  HostFacts facts = Facts();
  facts.capabilities &= ~(uint64_t{1} << CapabilityBit("CAP_KILL"));
  const Plan plan = Make(facts);
  EXPECT_EQ(All<SetCapabilities>(plan)[0].bounding >> CapabilityBit("CAP_KILL") & 1, 0u);
  EXPECT_THAT(plan.warnings, testing::Contains(HasSubstr("CAP_KILL")));
}

TEST_F(PlannerTest, AReadonlyDevIsMadeSoAfterItsDevices) {
  for (oci::Mount& mount : spec_.mounts) {
    if (mount.destination == "/dev") mount.options.push_back("ro");
  }
  const Plan plan = Make();
  const auto attrs = All<SetMountAttr>(plan);
  const bool found = std::any_of(attrs.begin(), attrs.end(),
                                 [](const SetMountAttr& attr) { return attr.destination == "/dev"; });
  EXPECT_TRUE(found);
}

TEST_F(PlannerTest, ASysctlPathCannotClimb) {
  for (const char* key : {"net.../../kernel/core_pattern", "net/../kernel/core_pattern", "net.", ""}) {
    spec_.linux->sysctl = {{key, "1"}};
    EXPECT_THAT(Refusal(), HasSubstr("names no sysctl")) << key;
  }
}

TEST_F(PlannerTest, WhoIsRootOfAUserNamespaceOnlyBindsDevices) {
  HostFacts facts = Facts();
  facts.cgroup.privileged = false;
  const Plan plan = Make(facts);
  EXPECT_TRUE(All<MakeDevice>(plan).empty());
  const std::vector<OpenTree> trees = All<OpenTree>(plan);
  EXPECT_TRUE(
      std::any_of(trees.begin(), trees.end(), [](const OpenTree& t) { return t.source == "/dev/null"; }));
  const auto sysfs = [](const std::vector<MountFilesystem>& mounts) {
    return std::any_of(mounts.begin(), mounts.end(),
                       [](const MountFilesystem& m) { return m.type == "sysfs"; });
  };
  EXPECT_TRUE(sysfs(All<MountFilesystem>(plan)));

  auto& namespaces = spec_.linux->namespaces;
  for (oci::Namespace& entry : namespaces) {
    if (entry.type == oci::NamespaceType::kNetwork) entry.path = "/proc/1/ns/net";
  }
  EXPECT_TRUE(sysfs(All<MountFilesystem>(Make(facts)))) << "a pod's network is the user's own";
  std::erase_if(namespaces, [](const oci::Namespace& n) { return n.type == oci::NamespaceType::kNetwork; });
  EXPECT_FALSE(sysfs(All<MountFilesystem>(Make(facts)))) << "the host's is not";
  EXPECT_TRUE(sysfs(All<MountFilesystem>(Make())));
}

TEST_F(PlannerTest, MasksAreLookedUpInTheKernelsOwnFileSystems) {
  spec_.linux->masked_paths = {"/proc/kcore", "/sys/firmware", "/etc/x", "/proc/../etc/x"};
  const auto where = [this] {
    std::vector<std::string> in;
    for (const MaskPath& mask : All<MaskPath>(Make())) in.push_back(mask.hidden.in);
    return in;
  };
  EXPECT_THAT(where(), ElementsAre("/proc", "/sys", "", ""));
  // What covers it makes it another's.
  spec_.mounts.push_back({"/proc/", "bind", "/volume", {"rbind"}, {}, {}});
  EXPECT_THAT(where(), ElementsAre("", "/sys", "", ""));
  spec_.mounts.push_back({"/proc/sys", "bind", "/volume", {"rbind"}, {}, {}});
  EXPECT_THAT(where(), ElementsAre("", "/sys", "", ""));
  spec_.mounts.push_back({"proc", "proc", "proc", {}, {}, {}});
  EXPECT_THAT(where(), ElementsAre("/proc", "/sys", "", ""));
}

TEST_F(PlannerTest, WithoutMountSetattrAttributesComeAfterAttaching) {
  spec_.mounts.push_back({"/data", "bind", "/srv", {"rbind", "ro", "nosuid"}, {}, {}});
  HostFacts facts = Facts();
  facts.mount_setattr = false;
  const Plan plan = Make(facts);
  EXPECT_TRUE(plan.remount);
  for (const OpenTree& tree : All<OpenTree>(plan)) EXPECT_TRUE(tree.attr.empty()) << tree.source;
  EXPECT_EQ(All<AttachMount>(plan).back().attr.set, uint64_t{MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID});
  EXPECT_EQ(All<AttachRoot>(plan)[0].attr.propagation.value, uint64_t{MS_PRIVATE});
  spec_.mounts.back().options = {"rbind", "rro"};
  EXPECT_THAT(Refusal(facts), HasSubstr("need Linux 5.12"));
  EXPECT_FALSE(Make().remount);
}

TEST_F(PlannerTest, SeccompFlagsThatTheKernelWouldRefuseAreLeftOut) {
  spec_.linux->seccomp.emplace();
  spec_.linux->seccomp->flags = {"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"};
  EXPECT_EQ(All<LoadSeccomp>(Make())[0].flags, 1u);
  spec_.linux->seccomp->listener_path = "/run/agent";
  spec_.linux->seccomp->syscalls = {{.names = {"chdir"}, .action = oci::SeccompAction::kNotify}};
  EXPECT_EQ(All<LoadSeccomp>(Make())[0].flags, 0x28u) << "killable waits, and the listener";
}

TEST(MountOptions, TheLastOfContradictingOptionsCounts) {
  auto options =
      ParseMountOptions({"ro", "nosuid", "rw", "suid", "noexec", "rro", "rslave", "size=1m", "userxattr"});
  ASSERT_TRUE(options.ok());
  EXPECT_EQ(options->attr.set, static_cast<uint64_t>(MOUNT_ATTR_NOEXEC));
  EXPECT_EQ(options->attr.recursive_set, static_cast<uint64_t>(MOUNT_ATTR_RDONLY));
  EXPECT_EQ(options->attr.propagation.value, static_cast<uint64_t>(MS_SLAVE));
  EXPECT_TRUE(options->attr.propagation.recursive);
  ASSERT_EQ(options->params.size(), 2u);
  EXPECT_EQ(options->params[0].key, "size");
  EXPECT_FALSE(options->params[1].value.has_value());
}

TEST(Capabilities, NamesAndBitsAgree) {
  EXPECT_EQ(CapabilityBit("CAP_CHOWN"), 0);
  EXPECT_EQ(CapabilityBit("CAP_CHECKPOINT_RESTORE"), 40);
  EXPECT_EQ(CapabilityBit("CAP_NO_SUCH"), -1);
  for (const std::string& name : oci::AllCapabilities()) EXPECT_EQ(CapabilityName(CapabilityBit(name)), name);
}

}  // namespace
}  // namespace gantry::plan
