#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "runtime/oci/spec.h"
#include "runtime/oci/state.h"

namespace gantry::oci {
namespace {

using ::testing::HasSubstr;

constexpr char kWhole[] = R"({
  "ociVersion": "1.3.0",
  "process": {
    "terminal": true, "consoleSize": {"height": 25, "width": 80},
    "user": {"uid": 1, "gid": 4294967294, "umask": 63, "additionalGids": [5, 6]},
    "args": ["sh", "-c", "true"], "env": ["A=1"], "cwd": "/x",
    "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "inheritable": ["CAP_CHOWN"],
                     "permitted": ["CAP_KILL"], "ambient": ["CAP_CHOWN"]},
    "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 18446744073709551615, "soft": 10}],
    "noNewPrivileges": true, "apparmorProfile": "p", "selinuxLabel": "l", "oomScoreAdj": -7,
    "scheduler": {"policy": "SCHED_DEADLINE", "nice": 1, "flags": ["SCHED_FLAG_RECLAIM"],
                  "runtime": 1, "deadline": 2, "period": 3},
    "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6},
    "execCPUAffinity": {"initial": "0", "final": "0-1"}
  },
  "root": {"path": "rootfs", "readonly": true},
  "hostname": "h", "domainname": "d",
  "mounts": [{"destination": "/data", "type": "bind", "source": "/src", "options": ["rbind", "ro"],
              "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 5}],
              "gidMappings": [{"containerID": 0, "hostID": 1001, "size": 6}]}],
  "hooks": {"prestart": [{"path": "/a", "args": ["a", "b"], "env": ["X=1"], "timeout": 3}],
            "createRuntime": [{"path": "/b"}], "createContainer": [{"path": "/c"}],
            "startContainer": [{"path": "/d"}], "poststart": [{"path": "/e"}], "poststop": [{"path": "/f"}]},
  "annotations": {"k": "v", "empty": ""},
  "linux": {
    "namespaces": [{"type": "pid"}, {"type": "network", "path": "/n"}, {"type": "mount"}, {"type": "ipc"},
                   {"type": "uts"}, {"type": "user"}, {"type": "cgroup"}, {"type": "time"}],
    "uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}],
    "gidMappings": [{"containerID": 3, "hostID": 4, "size": 5}],
    "timeOffsets": {"boottime": {"secs": -3, "nanosecs": 9}},
    "devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3, "fileMode": 438, "uid": 0, "gid": 7}],
    "netDevices": {"eth1": {"name": "inner"}, "eth2": {}},
    "cgroupsPath": "/a/b",
    "resources": {
      "devices": [{"allow": true, "type": "c", "major": 1, "minor": -1, "access": "rw"}],
      "memory": {"limit": 1, "reservation": 2, "swap": -1, "kernel": 3, "kernelTCP": 4, "swappiness": 60,
                 "disableOOMKiller": false, "useHierarchy": true, "checkBeforeUpdate": true},
      "cpu": {"shares": 2, "quota": -1, "burst": 3, "period": 4, "realtimeRuntime": 5, "realtimePeriod": 6,
              "cpus": "0", "mems": "0-1", "idle": 1},
      "pids": {"limit": 9},
      "blockIO": {"weight": 10, "leafWeight": 11,
                  "weightDevice": [{"major": 8, "minor": 0, "weight": 12, "leafWeight": 13}],
                  "throttleReadBpsDevice": [{"major": 8, "minor": 1, "rate": 1}],
                  "throttleWriteBpsDevice": [{"major": 8, "minor": 2, "rate": 2}],
                  "throttleReadIOPSDevice": [{"major": 8, "minor": 3, "rate": 3}],
                  "throttleWriteIOPSDevice": [{"major": 8, "minor": 4, "rate": 4}]},
      "hugepageLimits": [{"pageSize": "2MB", "limit": 5}],
      "network": {"classID": 6, "priorities": [{"name": "eth0", "priority": 7}]},
      "rdma": {"mlx": {"hcaHandles": 8, "hcaObjects": 9}},
      "unified": {"memory.high": "10"}
    },
    "rootfsPropagation": "rslave",
    "seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1, "architectures": ["SCMP_ARCH_X86_64"],
                "flags": ["SECCOMP_FILTER_FLAG_LOG"], "listenerPath": "/l", "listenerMetadata": "m",
                "syscalls": [{"names": ["read", "write"], "action": "SCMP_ACT_ALLOW", "errnoRet": 5,
                              "args": [{"index": 5, "value": 18446744073709551615, "valueTwo": 2,
                                        "op": "SCMP_CMP_MASKED_EQ"}]}]},
    "sysctl": {"net.ipv4.ip_forward": "1"},
    "maskedPaths": ["/proc/kcore"], "readonlyPaths": ["/proc/sys"], "mountLabel": "ml",
    "intelRdt": {"closID": "c", "schemata": ["L3:0=f"], "l3CacheSchema": "s", "memBwSchema": "t",
                 "enableMonitoring": true},
    "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
    "personality": {"domain": "LINUX32"}
  }
})";

TEST(ParseTest, EveryMemberSurvivesTheWayThereAndBack) {
  auto spec = ParseSpec(kWhole);
  ASSERT_TRUE(spec.ok()) << spec.status();
  const std::string first = ToJson(*spec);
  auto again = ParseSpec(first);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(ToJson(*again), first);
  // Nothing got lost: the same number of quotes as in the original.
  EXPECT_EQ(std::count(first.begin(), first.end(), '"'),
            std::count(std::begin(kWhole), std::end(kWhole), '"'));
  EXPECT_EQ(first.find('\n'), std::string::npos);
}

TEST(ParseTest, ValuesLandWhereTheyBelong) {
  auto spec = ParseSpec(kWhole);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->process->user.gid, 4294967294u);
  EXPECT_EQ(spec->process->user.umask, 63u);
  EXPECT_EQ(spec->process->rlimits[0].hard, UINT64_MAX);
  EXPECT_EQ(spec->process->oom_score_adj, -7);
  EXPECT_EQ(spec->hooks.prestart[0].timeout, 3);
  ASSERT_NE(spec->linux->FindNamespace(NamespaceType::kNetwork), nullptr);
  EXPECT_EQ(spec->linux->FindNamespace(NamespaceType::kNetwork)->path, "/n");
  EXPECT_EQ(spec->linux->time_offsets.at("boottime").secs, -3);
  EXPECT_EQ(spec->linux->resources->memory->swap, -1);
  EXPECT_EQ(spec->linux->resources->memory->disable_oom_killer, false);
  EXPECT_EQ(spec->linux->resources->pids_limit, 9);
  EXPECT_EQ(spec->linux->seccomp->syscalls[0].args[0].value, UINT64_MAX);
  EXPECT_EQ(spec->linux->seccomp->syscalls[0].args[0].op, SeccompOp::kMaskedEq);
  EXPECT_EQ(spec->linux->net_devices.at("eth1").name, "inner");
}

std::string ErrorOf(absl::string_view json) {
  auto spec = ParseSpec(json);
  return spec.ok() ? "accepted" : std::string(spec.status().message());
}

TEST(ParseTest, ErrorsNameThePlaceTheRuleAndWhatWasFound) {
  EXPECT_EQ(ErrorOf(R"({"ociVersion":"1.0.0","linux":{"resources":{"pids":{"limit":"many"}}}})"),
            "config.json: linux.resources.pids.limit: must be an integer from -9223372036854775808 to "
            "9223372036854775807, found the string \"many\"");
  EXPECT_EQ(ErrorOf(R"({"ociVersion":"1.0.0","process":{"args":["a",7]}})"),
            "config.json: process.args[1]: must be a string, found the number 7");
  EXPECT_EQ(ErrorOf(R"({"ociVersion":"1.0.0","mounts":["/proc"]})"),
            "config.json: mounts[0]: must be an object, found the string \"/proc\"");
  EXPECT_EQ(ErrorOf("{}"), "config.json: ociVersion: is required");
  EXPECT_EQ(ErrorOf("[]"), "config.json: must be an object, found an array");
  EXPECT_THAT(ErrorOf("{\n \"a\": }"), HasSubstr("line 2, column 7"));
}

TEST(ParseTest, IntegersNeverWrap) {
  for (const char* bad :
       {"-1", "4294967296", "18446744073709551616", "1e3", "1.5", "1e400", "\"0\"", "true", "[]"}) {
    const std::string text = absl::StrCat(R"({"ociVersion":"1.0.0","process":{"user":{"uid":)", bad, "}}}");
    EXPECT_NE(ErrorOf(text), "accepted") << bad;
  }
  EXPECT_EQ(ErrorOf(R"({"ociVersion":"1.0.0","process":{"user":{"uid":4294967295}}})"), "accepted");
  EXPECT_NE(
      ErrorOf(R"({"ociVersion":"1.0.0","linux":{"resources":{"memory":{"limit":9223372036854775808}}}})"),
      "accepted");
  EXPECT_NE(ErrorOf(R"({"ociVersion":"1.0.0","linux":{"resources":{"blockIO":{"weight":65536}}}})"),
            "accepted");
}

TEST(ParseTest, OfEqualKeysTheLastCountsAndNullIsAbsent) {
  auto spec =
      ParseSpec(R"({"ociVersion":"1.0.0","hostname":"a","hostname":"b","domainname":null,"mounts":null})");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->hostname, "b");
  EXPECT_EQ(spec->domainname, "");
}

TEST(ParseTest, UnknownMembersAreIgnored) {
  EXPECT_EQ(ErrorOf(R"({"ociVersion":"1.0.0","x":{"a":[1,{"b":null}]},"y":1.5e300,"solaris":{}})"),
            "accepted");
}

TEST(ParseTest, BombsAreRefused) {
  for (const char* piece : {"[", "{\"a\":"}) {
    std::string text = "{\"ociVersion\":\"1.0.0\",\"x\":";
    for (int i = 0; i < 100000; ++i) text += piece;
    EXPECT_THAT(ErrorOf(text), HasSubstr("nested deeper"));
  }
  std::string wide = "{\"ociVersion\":\"1.0.0\",\"x\":[0";
  for (size_t i = 0; i < kMaxElements; ++i) wide += ",0";
  EXPECT_THAT(ErrorOf(wide + "]}"), HasSubstr("more than the allowed 1048576 values"));
  EXPECT_THAT(ErrorOf(std::string(kMaxSpecBytes + 1, ' ')), HasSubstr("bytes"));
}

TEST(ParseTest, BrokenTextIsRefused) {
  const std::string good = R"({"ociVersion":"1.0.0"})";
  ASSERT_EQ(ErrorOf(good), "accepted");
  for (const std::string& bad :
       {std::string(), std::string(" "), good + good, good + "x", good + std::string("\0x", 2),
        std::string(100, '\0'), std::string("{'a':1}"), good.substr(0, good.size() - 1) + ",}",
        std::string("{\"ociVersion\":\"\xff\xfe\"}")}) {
    EXPECT_NE(ErrorOf(bad), "accepted") << bad;
  }
  EXPECT_THAT(ErrorOf(R"({"ociVersion":"1.0.0","hostname":"a\u0000b"})"), HasSubstr("NUL"));
  EXPECT_THAT(ErrorOf(R"({"ociVersion":"1.0.0","annotations":{"a\u0000b":"x"}})"), HasSubstr("NUL"));
}

TEST(ParseTest, ProcessAndResourcesStandAlone) {
  auto process = ParseProcess(R"({"args":["a"],"cwd":"/","user":{"uid":1,"gid":2}})");
  ASSERT_TRUE(process.ok()) << process.status();
  EXPECT_EQ(ToJson(*process), R"({"user": {"uid": 1,"gid": 2},"args": ["a"],"cwd": "/"})");
  auto resources = ParseResources(R"({"pids":{"limit":5},"memory":{"limit":-1}})");
  ASSERT_TRUE(resources.ok()) << resources.status();
  EXPECT_EQ(resources->pids_limit, 5);
  EXPECT_FALSE(ParseProcess("[]").ok());
  EXPECT_FALSE(ParseResources("[]").ok());
}

TEST(StateTest, LeavesOutThePidOfAStoppedContainer) {
  State state;
  state.id = "a";
  state.status = Status::kStopped;
  state.bundle = "/b";
  EXPECT_EQ(ToJson(state), R"({"ociVersion": "1.3.0","id": "a","status": "stopped","bundle": "/b"})");
  state.status = Status::kRunning;
  state.pid = 7;
  state.annotations["k"] = "v\n";
  EXPECT_THAT(ToJson(state), HasSubstr(R"("pid": 7)"));
  EXPECT_THAT(ToJson(state), HasSubstr(R"("annotations": {"k": "v\n"})"));
}

}  // namespace
}  // namespace gantry::oci
