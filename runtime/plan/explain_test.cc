#include "runtime/plan/explain.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/oci/default_seccomp.h"
#include "runtime/oci/json_node.h"
#include "runtime/plan/planner.h"

namespace gantry::plan {
namespace {

using testing::HasSubstr;
using testing::Not;

Plan PlanOf(const oci::Spec& spec) {
  HostFacts facts;
  facts.cgroup.hierarchies = {{1, {"memory"}, "/sys/fs/cgroup/memory", "/"}};
  facts.capabilities = facts.known_capabilities = (uint64_t{1} << 41) - 1;
  CreateRequest request;
  request.spec = &spec;
  request.id = "c1";
  request.bundle = "/bundle";
  auto plan = PlanCreate(request, facts);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.ok() ? *std::move(plan) : Plan();
}

// A specification with little in it, so that its explanation can be read here.
oci::Spec Small() {
  oci::Spec spec;
  spec.oci_version = "1.2.0";
  spec.root = oci::Root{"rootfs", true};
  spec.hostname = "h";
  spec.process.emplace();
  spec.process->args = {"/bin/sh", "-c", "echo \x1b[1m"};
  spec.process->env = {"HOME=/"};
  spec.process->cwd = "/";
  spec.process->capabilities.emplace();
  spec.process->capabilities->bounding = {"CAP_KILL", "CAP_SYS_ADMIN"};
  spec.process->capabilities->permitted = {"CAP_KILL"};
  spec.process->no_new_privileges = true;
  spec.mounts = {{"/proc", "proc", "proc", {"nosuid", "noexec"}, {}, {}},
                 {"/data", "", "/srv", {"rbind", "ro"}, {}, {}}};
  spec.linux.emplace();
  spec.linux->namespaces = {{oci::NamespaceType::kMount, ""},
                            {oci::NamespaceType::kPid, ""},
                            {oci::NamespaceType::kNetwork, "/run/netns/x"},
                            {oci::NamespaceType::kUts, ""}};
  spec.linux->cgroups_path = "/c1";
  spec.linux->resources.emplace();
  spec.linux->resources->memory.emplace();
  spec.linux->resources->memory->limit = 64 << 20;
  spec.linux->masked_paths = {"/proc/kcore"};
  spec.linux->devices = {{"/dev/fuse", "c", 10, 229, 0600, 7, 8}};
  spec.hooks.create_runtime = {{"/bin/hook", {"hook", "a b"}, {}, 5}};
  return spec;
}

std::string Text(const oci::Spec& spec) { return ToText(Explain(PlanOf(spec))); }

TEST(Explain, TellsNamespacesMountsAndLimitsInColumns) {
  const std::string text = Text(Small());
  EXPECT_THAT(text,
              testing::StartsWith(
                  "Namespaces: what the program sees of the system, and what it does not\n"
                  "  user     shared                user 0 inside is root of the host too\n"
                  "  mount    new                   has its own view of which file systems are where\n"
                  "  pid      new                   sees only its own processes, and is number 1 among them\n"
                  "  network  joined: /run/netns/x  together with whoever is in it\n"));
  EXPECT_THAT(
      text,
      HasSubstr("\nMounts: what the file tree is made of, in this order\n"
                "  /      rbind       /bundle/rootfs  rprivate       the container's root file system\n"
                "  /proc  proc                        nosuid noexec  new\n"
                "  /data  rbind       /srv            ro rslave      the host's own files\n"
                "  /      pivot_root                                 from here on the host's files have "
                "no name\n"
                "  /      change                      ro             nothing can be written outside of "
                "mounts\n"));
  EXPECT_THAT(text, HasSubstr("  /sys/fs/cgroup/memory/c1/memory.limit_in_bytes  67108864  "
                              "linux.resources.memory.limit  64 MiB\n"));
  EXPECT_THAT(text, HasSubstr("  /proc/kcore  masked  empty: a file reads as nothing\n"));
  EXPECT_THAT(text, HasSubstr("  /dev/fuse     c 10:229                 0600  of 7:8\n"));
}

TEST(Explain, TellsTheProgramItsPowersAndTheHooks) {
  const std::string text = Text(Small());
  EXPECT_THAT(
      text, HasSubstr("\nCapabilities: the parts of root's power that it has\n"
                      "  CAP_KILL       bounding permitted  signal processes of other users\n"
                      "  CAP_SYS_ADMIN  bounding            mount, join namespaces and much else: nearly the "
                      "whole host\n"));
  EXPECT_THAT(
      text,
      HasSubstr("\nSystem calls: what may be asked of the kernel\n  no filter: every call may be made\n"));
  EXPECT_THAT(
      text,
      HasSubstr("  createRuntime  /bin/hook  hook \"a b\"  on the host, before the root is switched, at "
                "most 5 s\n"));
  EXPECT_THAT(text, HasSubstr("  user          0:0                        root of the container\n"));
  EXPECT_THAT(text, HasSubstr("  program       /bin/sh -c \"echo \\x1b[1m\"\n"));
  EXPECT_THAT(text, Not(HasSubstr("Also:"))) << "nothing of this plan is without a subject";
}

TEST(Explain, TellsIdentitiesOfAUserNamespace) {
  oci::Spec spec = Small();
  spec.linux->namespaces.push_back({oci::NamespaceType::kUser, ""});
  spec.linux->uid_mappings = {{0, 100000, 65536}, {70000, 1000, 1}};
  spec.linux->gid_mappings = {{0, 200000, 65536}};
  const std::string text = Text(spec);
  EXPECT_THAT(
      text,
      HasSubstr("  user     new                   is root only inside: its users are others outside\n"));
  EXPECT_THAT(text, HasSubstr("  user   0 to 65535  100000 to 165535\n"
                              "  user   70000       1000\n"
                              "  group  0 to 65535  200000 to 265535\n"));
}

TEST(Explain, CountsSystemCallsAndNamesTheDangerousOnes) {
  oci::Spec spec = Small();
  oci::Seccomp profile;
  profile.default_action = oci::SeccompAction::kErrno;
  profile.syscalls = {{.names = {"read", "write", "bpf"}, .action = oci::SeccompAction::kAllow},
                      {.names = {"socket"},
                       .action = oci::SeccompAction::kAllow,
                       .args = {{.index = 0, .value = 1, .op = oci::SeccompOp::kEq}}},
                      {.names = {"ptrace"}, .action = oci::SeccompAction::kErrno, .errno_ret = 1}};
  spec.linux->seccomp = profile;
  std::string text = Text(spec);
  EXPECT_THAT(text,
              HasSubstr("  by default        SCMP_ACT_ERRNO (EPERM)  what a call gets that no rule names\n"
                        "  allowed           3 calls\n"
                        "  allowed at times  1 call                  depending on their arguments\n"
                        "  refused           1 call                  by rules of their own\n"));
  EXPECT_THAT(text, HasSubstr("  bpf     always                  programs inside the kernel\n"));
  EXPECT_THAT(text, HasSubstr("  socket  depending on arguments  "));
  EXPECT_THAT(text, Not(HasSubstr("  ptrace ")));
  // The other way round: all is allowed but what is named.
  spec.linux->seccomp->default_action = oci::SeccompAction::kAllow;
  text = Text(spec);
  EXPECT_THAT(text, HasSubstr("  mount              always"));
  EXPECT_THAT(text, Not(HasSubstr("  ptrace ")));
}

TEST(Explain, TheDefaultProfileLetsOnlyOneFamilyOfDangerousCallsThrough) {
  oci::Spec spec = Small();
  spec.linux->seccomp = oci::DefaultSeccomp({});
  std::vector<std::string> always;
  for (const Section& section : Explain(PlanOf(spec)).sections) {
    if (section.key != "dangerousCalls") continue;
    for (const Row& row : section.rows) {
      if (std::get<std::string>(row.cells[1].value) == "always")
        always.push_back(std::get<std::string>(row.cells[0].value));
    }
  }
  // Which reach the container's own processes alone; the kernel checks that since Linux 4.8.
  EXPECT_THAT(always, testing::ElementsAre("process_vm_readv", "process_vm_writev", "ptrace"));
}

TEST(Explain, IsTheSameInJson) {
  const Plan plan = PlanOf(Small());
  const std::string json = ToJson(Explain(plan), plan);
  oci::internal::Document document;
  ASSERT_TRUE(document.Parse(json, "explain").ok()) << json;
  EXPECT_THAT(json, HasSubstr("\"namespaces\""));
  EXPECT_THAT(json, HasSubstr("\"value\": \"67108864\""));
  EXPECT_THAT(json, HasSubstr("\"operations\""));
}

TEST(Explain, EveryOperationOfAnExecHasASubject) {
  oci::Spec spec = Small();
  ExecRequest request;
  request.process = &*spec.process;
  HostFacts facts;
  auto plan = PlanExec(request, facts);
  ASSERT_TRUE(plan.ok());
  EXPECT_THAT(ToText(Explain(*plan)), HasSubstr("\nProgram: "));
}

}  // namespace
}  // namespace gantry::plan
