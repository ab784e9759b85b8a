#include "shim/task/state.h"

#include "gtest/gtest.h"
#include "shim/builder/saved_state.h"
#include "shim/task/exit_record.h"

namespace gantry::shim {
namespace {

TEST(StateTest, WhatDoesNotFitIsRefusedByName) {
  EXPECT_TRUE(state::Created().CheckStart().ok());
  EXPECT_EQ(state::Running().CheckStart().message(), "cannot start a running process");
  EXPECT_EQ(state::Stopped().CheckStart().message(), "cannot start a stopped process");
  EXPECT_EQ(state::Running().CheckDelete().message(), "cannot delete a running process");
  EXPECT_EQ(state::Created().CheckPause().message(), "cannot pause a created container");
  EXPECT_EQ(state::Paused().CheckExec().message(), "cannot exec in a paused container");
  EXPECT_EQ(state::Stopped().CheckExec().message(), "cannot exec in a stopped container");
  EXPECT_TRUE(absl::IsFailedPrecondition(state::Starting().CheckDelete()));
  EXPECT_TRUE(absl::IsNotFound(state::Stopped().CheckKill()));
  EXPECT_TRUE(absl::IsFailedPrecondition(state::ExecCreated().CheckKill()));
  EXPECT_TRUE(state::Running().CheckPause().ok());
  EXPECT_TRUE(state::Paused().CheckResume().ok());
  EXPECT_FALSE(state::Running().CheckResume().ok());
  EXPECT_TRUE(state::Stopped().CheckDelete().ok());
}

TEST(ExitRecordTest, IsReadAsItWasWritten) {
  const ExitRecord record{42, 137, absl::FromUnixNanos(1786000000123456789)};
  const auto read = ParseExitRecord(FormatExitRecord(record));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->pid, 42);
  EXPECT_EQ(read->status, 137u);
  EXPECT_EQ(read->exited_at, record.exited_at);
  EXPECT_FALSE(ParseExitRecord("{}").ok());
  EXPECT_FALSE(ParseExitRecord("").ok());
}

TEST(SavedStateTest, IsReadAsItWasWritten) {
  SavedState state;
  state.pid = 7;
  state.start_time = 12345;
  cgroup::Directory directory;
  directory.controllers = "cpu,cpuacct";
  directory.mount_point = "/sys/fs/cgroup/cpu,cpuacct";
  directory.path = "/sys/fs/cgroup/cpu,cpuacct/ns/id";
  state.cgroup.push_back(directory);
  const auto read = ParseSavedState(FormatSavedState(state));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->pid, 7);
  EXPECT_EQ(read->start_time, 12345u);
  ASSERT_EQ(read->cgroup.size(), 1u);
  EXPECT_EQ(read->cgroup[0].path, directory.path);
  EXPECT_FALSE(ParseSavedState("pid x 1\n").ok());
}

}  // namespace
}  // namespace gantry::shim
