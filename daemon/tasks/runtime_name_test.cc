#include "daemon/tasks/runtime_name.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::tasks {
namespace {

using testing::HasSubstr;

TEST(RuntimeNameTest, NamesStandForPrograms) {
  EXPECT_EQ(*ShimProgram("io.containerd.runc.v2", {}), kOurShim);
  EXPECT_EQ(*ShimProgram("io.containerd.gantry.v2", {}), kOurShim);
  EXPECT_EQ(*ShimProgram("io.containerd.kata.v2", {}), "containerd-shim-kata-v2");
  EXPECT_EQ(*ShimProgram("/opt/shim", {}), "/opt/shim");
  EXPECT_EQ(*ShimProgram("io.containerd.runc.v2", {{"io.containerd.runc.v2", "/usr/bin/x"}}), "/usr/bin/x");
}

TEST(RuntimeNameTest, NamesThatStandForNoneAreRefused) {
  for (const char* bad : {"", "runc", "a/b.v2", "io.containerd..v2", "io.containerd.x.v2/../y", "../x.v2"}) {
    EXPECT_EQ(ShimProgram(bad, {}).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(RuntimeNameTest, ProgramsAreFoundInPathThenBesideTheDaemon) {
  EXPECT_EQ(*FindProgram("sh", "relative:/bin:/usr/bin", "/nowhere"), "/bin/sh");
  EXPECT_EQ(*FindProgram("sh", "/nowhere", "/usr/bin"), "/usr/bin/sh");
  EXPECT_EQ(*FindProgram("/bin/sh", "", ""), "/bin/sh");
  const auto missing = FindProgram("containerd-shim-none-v9", "/bin", "/usr/bin");
  EXPECT_EQ(missing.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(missing.status().message()), HasSubstr("containerd-shim-none-v9"));
  EXPECT_FALSE(FindProgram("/etc/passwd", "", "").ok());
}

TEST(RuntimeNameTest, OurShimIsKnownByItsFile) {
  EXPECT_TRUE(IsOurShim("/usr/bin/containerd-shim-gantry-v2"));
  EXPECT_FALSE(IsOurShim("/usr/bin/containerd-shim-runc-v2"));
}

}  // namespace
}  // namespace gantry::tasks
