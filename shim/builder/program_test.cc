#include "shim/builder/program.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "shim/builder/process_cgroup.h"
#include "shim/builder/program_engine.h"

namespace gantry::shim {
namespace {

using ::testing::HasSubstr;

TEST(LastLoggedErrorTest, TheLastErrorCountsAndNothingElse) {
  EXPECT_EQ(LastLoggedError(""), "");
  EXPECT_EQ(LastLoggedError("{\"level\":\"warning\",\"msg\":\"hm\"}\nno json\n"), "");
  EXPECT_EQ(LastLoggedError("{\"level\":\"error\",\"msg\":\"first\"}\n"
                            "{\"msg\":\"second \\\"x\\\"\",\"level\":\"error\",\"time\":\"t\"}\n"
                            "{\"level\":\"info\",\"msg\":\"third\"}"),
            "second \"x\"");
}

TEST(EngineRecordTest, IsReadAsItWasWritten) {
  EngineOptions options;
  options.program = "/opt/my runtime/crun";
  options.root = "/run/x y/ns";
  options.systemd_cgroup = true;
  const auto read = ParseEngineRecord(FormatEngineRecord(options));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(*read, options);
  EXPECT_TRUE(absl::IsDataLoss(ParseEngineRecord("program x\n").status()));
}

TEST(FindRuntimeTest, APathIsTakenAndANameLookedUp) {
  EXPECT_EQ(*FindRuntime("/no/such"), "/no/such");
  EXPECT_EQ(FindRuntime("sh")->back(), 'h');
  const absl::Status missing = FindRuntime("no-such-runtime").status();
  EXPECT_TRUE(absl::IsNotFound(missing));
  EXPECT_THAT(std::string(missing.message()), HasSubstr("no-such-runtime"));
}

TEST(DirectoriesOfTest, OurOwnCgroupsAreLeftOut) {
  cgroup::Host host;
  host.hierarchies.resize(3);
  host.hierarchies[0].controllers = {"cpu", "cpuacct"};
  host.hierarchies[0].mount_point = "/sys/fs/cgroup/cpu,cpuacct";
  host.hierarchies[1].controllers = {"rdma"};
  host.hierarchies[1].mount_point = "/sys/fs/cgroup/rdma";
  host.hierarchies[1].self = "/daemon";
  host.hierarchies[2].version = 2;
  host.hierarchies[2].mount_point = "/sys/fs/cgroup/unified";
  const auto directories = DirectoriesOf(host,
                                         "0::/a:b/c\n"
                                         "5:rdma:/daemon\n"
                                         "4:cpu,cpuacct:/a:b/c\n"
                                         "3:memory:/elsewhere\n"
                                         "2:rdma:/\n");
  ASSERT_EQ(directories.size(), 2u);
  EXPECT_EQ(directories[0].path, "/sys/fs/cgroup/cpu,cpuacct/a:b/c");
  EXPECT_EQ(directories[1].path, "/sys/fs/cgroup/unified/a:b/c");
  EXPECT_EQ(directories[1].version, 2);
}

}  // namespace
}  // namespace gantry::shim
