#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "runtime/oci/spec.h"
#include "runtime/oci/sysctl.h"

namespace gantry::oci {
namespace {

using ::testing::HasSubstr;

// The message of the verdict on the default specification with `change` applied; "" if it is fine.
std::string With(const std::function<void(Spec&)>& change) {
  Spec spec = DefaultSpec();
  change(spec);
  return std::string(Validate(spec).message());
}

TEST(ValidateTest, TheDefaultIsFine) {
  EXPECT_EQ(With([](Spec&) {}), "");
}

TEST(ValidateTest, VersionMustBeSemanticAndOfMajorOne) {
  for (const char* bad : {"one", "1", "1.0", "1.0.2.3", "v1.0.2", "1.0.x", " 1.0.2", "", "99.0.0", "2.0.0",
                          "0.0.1", "01.0.0", "1.0.0-", "1.0.0+"}) {
    EXPECT_THAT(With([&](Spec& s) { s.oci_version = bad; }), HasSubstr("ociVersion")) << bad;
  }
  for (const char* good : {"1.0.0", "1.0.2-dev", "1.1.0-rc.1+build", "1.3.0", "1.9.9"}) {
    EXPECT_EQ(With([&](Spec& s) { s.oci_version = good; }), "") << good;
  }
}

TEST(ValidateTest, ProcessRules) {
  const auto process = [](const std::function<void(Process&)>& change) {
    return With([&](Spec& s) { change(*s.process); });
  };
  EXPECT_THAT(With([](Spec& s) { s.process.reset(); }), HasSubstr("process: is required"));
  EXPECT_THAT(process([](Process& p) { p.args.clear(); }), HasSubstr("process: args"));
  EXPECT_THAT(process([](Process& p) { p.args = {""}; }), HasSubstr("args[0]"));
  EXPECT_THAT(process([](Process& p) { p.cwd = "opt"; }), HasSubstr("found \"opt\""));
  EXPECT_THAT(process([](Process& p) { p.user.uid = 0xffffffff; }), HasSubstr("no change"));
  EXPECT_THAT(process([](Process& p) {
                p.user.additional_gids = {1, 0xffffffff};
              }),
              HasSubstr("additionalGids"));
  EXPECT_EQ(process([](Process& p) { p.user.uid = 2147483648u; }), "");
  EXPECT_THAT(process([](Process& p) { p.rlimits.push_back(p.rlimits[0]); }), HasSubstr("twice"));
  EXPECT_THAT(process([](Process& p) { p.rlimits[0].type = "NOFILE"; }), HasSubstr("RLIMIT_NOFILE"));
  EXPECT_THAT(process([](Process& p) { p.rlimits[0].soft = 2000; }), HasSubstr("2000 and 1024"));
  EXPECT_THAT(process([](Process& p) { p.oom_score_adj = 1001; }), HasSubstr("oomScoreAdj"));
  EXPECT_THAT(process([](Process& p) {
                p.io_priority = IoPriority{"IOPRIO_CLASS_BE", 8};
              }),
              HasSubstr("0 to 7"));
  EXPECT_THAT(process([](Process& p) { p.scheduler.emplace().policy = "SCHED_X"; }), HasSubstr("SCHED_X"));
  EXPECT_EQ(process([](Process& p) { p.capabilities->bounding.push_back("CAP_NO_SUCH_THING"); }), "");
}

TEST(ValidateTest, NamespacesAndMappings) {
  const auto linux = [](const std::function<void(Linux&)>& change) {
    return With([&](Spec& s) { change(*s.linux); });
  };
  EXPECT_THAT(linux([](Linux& l) { l.namespaces.push_back({NamespaceType::kIpc, ""}); }), HasSubstr("twice"));
  EXPECT_THAT(linux([](Linux& l) { l.namespaces[1].path = "proc/self/ns/net"; }), HasSubstr("absolute"));
  EXPECT_THAT(linux([](Linux& l) {
                l.namespaces.push_back({NamespaceType::kUser, ""});
              }),
              HasSubstr("uidMappings"));
  EXPECT_THAT(linux([](Linux& l) { l.uid_mappings = {{0, 1, 1}}; }), HasSubstr("user namespace"));
  const auto mapped = [&](std::vector<IdMapping> mappings) {
    return linux([&](Linux& l) {
      l.namespaces.push_back({NamespaceType::kUser, ""});
      l.uid_mappings = mappings;
      l.gid_mappings = {{0, 1, 1}};
    });
  };
  EXPECT_EQ(mapped({{0, 200000, 65536}}), "");
  EXPECT_THAT(mapped({{0, 1, 0}}), HasSubstr("uidMappings[0].size"));
  EXPECT_THAT(mapped({{0, 0xffffffff, 10}}), HasSubstr("4294967295"));
  EXPECT_THAT(mapped({{0xfffffff0, 0, 0x20}}), HasSubstr("4294967295"));
  EXPECT_THAT(mapped({{0, 200000, 100}, {50, 201000, 100}}), HasSubstr("overlap"));
  EXPECT_THAT(mapped({{0, 200000, 100}, {100, 200050, 100}}), HasSubstr("overlap"));
  EXPECT_THAT(linux([](Linux& l) { l.time_offsets["monotonic"].secs = 1; }), HasSubstr("time namespace"));
  EXPECT_THAT(linux([](Linux& l) { l.namespaces.erase(l.namespaces.begin() + 4); }),
              HasSubstr("mount namespace"));
}

TEST(ValidateTest, HostNamesNeedTheirNamespace) {
  EXPECT_THAT(With([](Spec& s) { s.linux->namespaces.erase(s.linux->namespaces.begin() + 3); }),
              HasSubstr("hostname: needs a uts namespace"));
  EXPECT_THAT(With([](Spec& s) { s.hostname.assign(65, 'x'); }), HasSubstr("64"));
}

TEST(ValidateTest, SysctlsStayInTheirNamespaces) {
  const auto sysctl = [](const char* key, const char* value = "1") {
    return With([&](Spec& s) { s.linux->sysctl[key] = value; });
  };
  for (const char* good : {"net.ipv4.ip_forward", "net/ipv4/ip_forward", "kernel.msgmax", "fs.mqueue.msg_max",
                           "net.ipv4.conf.eth0/100.rp_filter"}) {
    EXPECT_EQ(sysctl(good), "") << good;
  }
  for (const char* bad :
       {"", "net.", "net", "kernel.panic", "vm.swappiness", "fs.file-max", "kernel.core_pattern",
        "kernel.shm_rmid_forced/../core_pattern", "net/../kernel/core_pattern",
        "net.../../kernel/core_pattern", "net.ipv4/../../kernel/core_pattern",
        "fs.mqueue/../../kernel/core_pattern", "fs.mqueue.../../kernel.core_pattern",
        "net.ipv4.ip_forward\nkernel.core_pattern", "kernel.msgmax=1+kernel.core_pattern",
        "../../proc/sys/kernel/core_pattern", "kernel.hostname"}) {
    EXPECT_THAT(sysctl(bad), HasSubstr("sysctl")) << bad;
  }
  EXPECT_THAT(sysctl("net.ipv4.ip_forward", "1\nkernel.core_pattern=x"), HasSubstr("one line"));
  EXPECT_THAT(With([](Spec& s) {
                s.linux->namespaces.erase(s.linux->namespaces.begin() + 1);
                s.linux->sysctl["net.ipv4.ip_forward"] = "1";
              }),
              HasSubstr("network namespace"));
  EXPECT_EQ(SysctlPath("net.ipv4.conf.eth0/100.rp_filter").value(), "net/ipv4/conf/eth0.100/rp_filter");
  EXPECT_EQ(SysctlPath("net/ipv4/conf/eth0.100/rp_filter").value(), "net/ipv4/conf/eth0.100/rp_filter");
}

TEST(ValidateTest, MountsHooksDevicesAndPaths) {
  EXPECT_THAT(With([](Spec& s) {
                s.mounts.push_back({"", "tmpfs", "", {}, {}, {}});
              }),
              HasSubstr("destination"));
  EXPECT_THAT(With([](Spec& s) { s.mounts.push_back({"/x", "", "", {}, {}, {}}); }), HasSubstr("type"));
  EXPECT_THAT(With([](Spec& s) {
                s.mounts.push_back({"/x", "bind", "", {"bind"}, {}, {}});
              }),
              HasSubstr("source"));
  EXPECT_EQ(With([](Spec& s) { s.mounts.push_back({"data", "", "/s", {"rbind"}, {}, {}}); }), "");
  EXPECT_THAT(With([](Spec& s) {
                s.mounts.push_back({"/x", "bind", "/s", {}, {{0, 1, 1}}, {}});
              }),
              HasSubstr("together"));
  EXPECT_THAT(With([](Spec& s) {
                s.hooks.poststop.push_back({"rel", {}, {}, {}});
              }),
              HasSubstr("hooks.poststop[0].path"));
  EXPECT_THAT(With([](Spec& s) { s.hooks.prestart.push_back({"/x", {}, {}, 0}); }), HasSubstr("timeout"));
  EXPECT_THAT(With([](Spec& s) {
                s.linux->devices.push_back({"", "c", 1, 3, {}, {}, {}});
              }),
              HasSubstr("path"));
  EXPECT_THAT(With([](Spec& s) {
                s.linux->devices.push_back({"/x", "z", 1, 3, {}, {}, {}});
              }),
              HasSubstr("type"));
  EXPECT_THAT(With([](Spec& s) {
                s.linux->devices.push_back({"/x", "c", -1, 3, {}, {}, {}});
              }),
              HasSubstr("major"));
  EXPECT_THAT(With([](Spec& s) { s.linux->masked_paths = {"../etc"}; }), HasSubstr("maskedPaths"));
  EXPECT_THAT(With([](Spec& s) { s.linux->rootfs_propagation = "x"; }), HasSubstr("rootfsPropagation"));
  EXPECT_THAT(With([](Spec& s) { s.linux->personality = Personality{"HURD", {}}; }), HasSubstr("LINUX32"));
  EXPECT_THAT(With([](Spec& s) { s.linux->net_devices["eth0/x"]; }), HasSubstr("netDevices"));
  EXPECT_THAT(With([](Spec& s) { s.root->path = ""; }), HasSubstr("root.path"));
}

TEST(ValidateTest, ResourceRules) {
  const auto resources = [](const std::function<void(Resources&)>& change) {
    return With([&](Spec& s) { change(*s.linux->resources); });
  };
  EXPECT_THAT(resources([](Resources& r) { r.cpu.emplace().cpus = "0-"; }), HasSubstr("cpu.cpus"));
  EXPECT_THAT(resources([](Resources& r) { r.cpu.emplace().cpus = "0-4294967295"; }), HasSubstr("65535"));
  EXPECT_THAT(resources([](Resources& r) { r.cpu.emplace().mems = "zero"; }), HasSubstr("cpu.mems"));
  EXPECT_EQ(resources([](Resources& r) { r.cpu.emplace().cpus = "0,2-3"; }), "");
  EXPECT_THAT(resources([](Resources& r) {
                r.memory.emplace().limit = 100;
                r.memory->swap = 50;
              }),
              HasSubstr("50 and 100"));
  EXPECT_THAT(resources([](Resources& r) { r.memory.emplace().swappiness = 101; }), HasSubstr("swappiness"));
  EXPECT_THAT(resources([](Resources& r) { r.block_io.emplace().weight = 5; }), HasSubstr("10 to 1000"));
  EXPECT_THAT(resources([](Resources& r) { r.hugepage_limits = {{"2mb", 1}}; }), HasSubstr("pageSize"));
  EXPECT_THAT(resources([](Resources& r) { r.devices[0].access = "rx"; }), HasSubstr("access"));
  EXPECT_THAT(resources([](Resources& r) { r.devices[0].type = "p"; }), HasSubstr("type"));
  for (const char* bad : {"../memory.max", "memory.max/x", "cgroup.procs", "x", ".x", "memory.max x", ""}) {
    EXPECT_THAT(resources([&](Resources& r) { r.unified[bad] = "1"; }), HasSubstr("unified")) << bad;
  }
  EXPECT_EQ(resources([](Resources& r) { r.unified["memory.high"] = "1"; }), "");
}

TEST(ValidateTest, ResctrlAndMemoryPolicyRules) {
  const auto closid = [](const std::string& id) {
    return With([&](Spec& s) { s.linux->intel_rdt.emplace().clos_id = id; });
  };
  EXPECT_EQ(closid("gold"), "");
  EXPECT_EQ(closid("/"), "") << "the default class";
  for (const char* bad : {"a/b", "/a", "..", "info", "mon_groups"}) {
    EXPECT_THAT(closid(bad), HasSubstr("closID")) << bad;
  }
  EXPECT_THAT(With([](Spec& s) { s.linux->intel_rdt.emplace().mem_bw_schema = "L3:0=f"; }),
              HasSubstr("memBwSchema"));
  EXPECT_THAT(With([](Spec& s) { s.linux->intel_rdt.emplace().schemata = {"L3:0=f\nMB:0=1"}; }),
              HasSubstr("schemata"));
  const auto policy = [](const MemoryPolicy& policy) {
    return With([&](Spec& s) { s.linux->memory_policy = policy; });
  };
  EXPECT_EQ(policy({"MPOL_BIND", "0-1", {"MPOL_F_STATIC_NODES"}}), "");
  EXPECT_EQ(policy({"MPOL_PREFERRED", "", {}}), "") << "of the nearest node";
  EXPECT_THAT(policy({"MPOL_BIND", "", {}}), HasSubstr("at least one node"));
  EXPECT_THAT(policy({"MPOL_DEFAULT", "0", {}}), HasSubstr("takes no nodes"));
  EXPECT_THAT(policy({"MPOL_BIND", "0", {"MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"}}),
              HasSubstr("exclude each other"));
  EXPECT_THAT(policy({"MPOL_MAGIC", "0", {}}), HasSubstr("MPOL_MAGIC"));
}

TEST(ValidateTest, SeccompRules) {
  const auto seccomp = [](const std::function<void(Seccomp&)>& change) {
    return With([&](Spec& s) {
      Seccomp& profile = s.linux->seccomp.emplace();
      profile.syscalls.push_back({{"getpgid"}, SeccompAction::kErrno, {}, {}});
      change(profile);
    });
  };
  EXPECT_EQ(seccomp([](Seccomp&) {}), "");
  EXPECT_THAT(seccomp([](Seccomp& p) { p.default_action = SeccompAction::kNotify; }),
              HasSubstr("defaultAction"));
  EXPECT_THAT(seccomp([](Seccomp& p) { p.syscalls[0].action = SeccompAction::kNotify; }),
              HasSubstr("listenerPath"));
  EXPECT_THAT(seccomp([](Seccomp& p) { p.flags = {"X"}; }), HasSubstr("flags"));
  EXPECT_THAT(seccomp([](Seccomp& p) { p.architectures = {"SCMP_ARCH_PDP11"}; }), HasSubstr("PDP11"));
  EXPECT_THAT(seccomp([](Seccomp& p) { p.syscalls[0].names.clear(); }), HasSubstr("names"));
}

TEST(ValidateTest, ListsHaveAnEnd) {
  Spec spec = DefaultSpec();
  spec.mounts.resize(5000, spec.mounts[0]);
  EXPECT_EQ(Validate(spec).message(), "mounts: must have at most 4096 entries, found 5000");
  spec = DefaultSpec();
  spec.hooks.poststop.resize(300, Hook{"/bin/true", {}, {}, {}});
  EXPECT_FALSE(Validate(spec).ok());
  spec = DefaultSpec();
  spec.linux->seccomp.emplace();
  SeccompSyscall rule;
  rule.names = {"getpid"};
  rule.args = {{.index = 0}};
  spec.linux->seccomp->syscalls.resize(2000, rule);
  EXPECT_TRUE(Validate(spec).ok()) << Validate(spec);
  spec.linux->seccomp->syscalls.resize(3000, rule);
  EXPECT_FALSE(Validate(spec).ok());
  spec = DefaultSpec();
  spec.linux->resources->devices.resize(5000);
  EXPECT_FALSE(Validate(spec).ok());
}

}  // namespace
}  // namespace gantry::oci
