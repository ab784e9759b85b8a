#include "runtime/plan/print.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>

namespace gantry::plan {
namespace {

Plan Example() {
  Plan plan;
  CreateCgroup cgroup;
  cgroup.plan.directories = {{.controllers = "memory", .path = "/sys/fs/cgroup/memory/c1"}};
  cgroup.plan.writes = {{.directory = 0,
                         .file = "memory.limit_in_bytes",
                         .value = "67108864",
                         .setting = "linux.resources.memory.limit"}};
  plan.operations.push_back(cgroup);
  NewMount root;
  root.slot = 0;
  root.type = "overlay";
  root.params = {{"lowerdir+", "/l 1"}, {"volatile", std::nullopt}};
  root.attr.set = MOUNT_ATTR_NODEV | MOUNT_ATTR_RDONLY;
  plan.operations.push_back(root);
  plan.operations.push_back(Clone{.flags = {CLONE_NEWPID | CLONE_NEWNS}});
  plan.operations.push_back(SetHostname{.name = "c1\x1b"});
  plan.operations.push_back(SetCapabilities{.bounding = 1});
  plan.operations.push_back(AwaitStart{});
  plan.warnings = {"left out"};
  return plan;
}

TEST(ToText, IsALineAnOperation) {
  EXPECT_EQ(ToText(Example()),
            "CreateCgroup\n"
            "    mkdir /sys/fs/cgroup/memory/c1\n"
            "    67108864 > memory.limit_in_bytes  (linux.resources.memory.limit)\n"
            "NewMount               type=overlay params=\"lowerdir+=/l 1\",volatile attr=+ro,+nodev\n"
            "Clone                  flags=NEWPID,NEWNS\n"
            "SetHostname            name=\"c1\\x1b\"\n"
            "SetCapabilities        bounding=CAP_CHOWN final\n"
            "AwaitStart\n"
            "warning: \"left out\"\n");
}

TEST(ToJson, NamesTheOperationAndEveryMember) {
  Plan plan;
  plan.operations.push_back(Clone{.flags = {CLONE_NEWNET}});
  plan.operations.push_back(SetRlimit{.type = "RLIMIT_NOFILE", .resource = 7, .soft = 1, .hard = 2});
  EXPECT_EQ(ToJson(plan),
            R"({"operations": [{"op": "Clone","flags": ["NEWNET"],"helper": false,"time_offsets": []},)"
            R"({"op": "SetRlimit","type": "RLIMIT_NOFILE","soft": 1,"hard": 2}],"warnings": []})");
}

}  // namespace
}  // namespace gantry::plan
