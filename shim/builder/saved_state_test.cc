#include "shim/builder/saved_state.h"

#include "gtest/gtest.h"

namespace gantry::shim {
namespace {

SavedState Example() {
  SavedState state;
  state.pid = 123;
  state.start_time = 456789;
  state.cgroup.resize(1);
  state.cgroup[0].controllers = "cpu,cpuacct";
  state.cgroup[0].mount_point = "/sys/fs/cgroup/cpu,cpuacct";
  state.cgroup[0].path = "/sys/fs/cgroup/cpu,cpuacct/a";
  return state;
}

TEST(SavedStateTest, IsReadAsItWasWritten) {
  const auto read = ParseSavedState(FormatSavedState(Example()));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->pid, 123);
  EXPECT_EQ(read->start_time, 456789u);
  EXPECT_EQ(read->cgroup, Example().cgroup);
  EXPECT_FALSE(read->adopt.has_value());
}

TEST(SavedStateTest, WithWhatASuccessorHasToKnow) {
  SavedState state = Example();
  state.adopt.emplace();
  state.adopt->private_pid_namespace = false;
  state.adopt->has_poststop = true;
  state.adopt->io_uid = 7;
  state.adopt->io_gid = 8;
  state.adopt->err = "file:///var/log/a b?x=y";
  const auto read = ParseSavedState(FormatSavedState(state));
  ASSERT_TRUE(read.ok()) << read.status();
  ASSERT_TRUE(read->adopt.has_value());
  EXPECT_FALSE(read->adopt->private_pid_namespace);
  EXPECT_TRUE(read->adopt->has_poststop);
  EXPECT_EQ(read->adopt->io_uid, 7u);
  EXPECT_EQ(read->adopt->io_gid, 8u);
  EXPECT_EQ(read->adopt->out, "");
  EXPECT_EQ(read->adopt->err, "file:///var/log/a b?x=y");
  EXPECT_EQ(read->cgroup, state.cgroup);
}

TEST(SavedStateTest, DamageIsAnError) {
  for (const char* bad : {"", "pid", "pid 1", "pid x 2\n", "pid 1 2 3\n", "pid 1 2\nadopt 1 0 7\n"}) {
    EXPECT_TRUE(absl::IsDataLoss(ParseSavedState(bad).status())) << bad;
  }
}

}  // namespace
}  // namespace gantry::shim
