#include "runtime/container/state_dir.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"

namespace gantry::container {
namespace {

class StateDirTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(mkdtemp(directory_), nullptr);
    root_ = absl::StrCat(directory_, "/root");
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, directory_).ok()); }

  SavedState Example() const {
    SavedState state;
    state.oci_version = "1.3.0";
    state.id = "c1";
    state.pid = getpid();
    state.start_time = *sys::ProcessStartTime(getpid());
    state.bundle = "/b";
    state.rootfs = "/b/rootfs";
    state.created = "2026-01-02T03:04:05Z";
    state.cgroup = {{.version = 1,
                     .controllers = "memory",
                     .mount_point = "/sys/fs/cgroup/memory",
                     .path = "/sys/fs/cgroup/memory/c1"}};
    state.annotations = {{"k", "v \"quoted\"\n"}};
    return state;
  }

  char directory_[32] = "/tmp/state_dir_test.XXXXXX";
  std::string root_;
};

TEST_F(StateDirTest, AnIdIsTakenOnce) {
  ASSERT_TRUE(StateDir::Make(root_, "c1").ok());
  EXPECT_EQ(StateDir::Make(root_, "c1").status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(StateDir::Open(root_, "c2").status().code(), absl::StatusCode::kNotFound);
  struct stat st;
  ASSERT_EQ(stat(absl::StrCat(root_, "/c1").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0700u);
}

TEST_F(StateDirTest, WhatWasSavedIsLoaded) {
  const StateDir dir = *StateDir::Make(root_, "c1");
  EXPECT_EQ(dir.Load().status().code(), absl::StatusCode::kNotFound);
  const SavedState saved = Example();
  ASSERT_TRUE(dir.Save(saved).ok());
  ASSERT_TRUE(dir.SaveConfig("{}").ok());
  const auto loaded = dir.Load();
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(ToJson(*loaded), ToJson(saved));
  EXPECT_EQ(loaded->annotations, saved.annotations);
  EXPECT_EQ(*dir.LoadConfig(), "{}");
  EXPECT_EQ(*StateDir::List(root_), std::vector<std::string>{"c1"});
  ASSERT_TRUE(dir.Remove().ok());
  ASSERT_TRUE(dir.Remove().ok());
  EXPECT_TRUE(StateDir::List(root_)->empty());
}

TEST_F(StateDirTest, ADamagedFileIsNamed) {
  EXPECT_EQ(ParseSavedState("{\"id\":").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ParseSavedState("{\"id\":\"x\"}").status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(StateDirTest, IdsThatLeaveTheDirectoryAreRefused) {
  for (const char* id : {"", ".", "..", "a/b", "../x", "/abs", "sp ace", "new\nline"}) {
    EXPECT_EQ(StateDir::Make(root_, id).status().code(), absl::StatusCode::kInvalidArgument) << id;
    EXPECT_EQ(StateDir::Open(root_, id).status().code(), absl::StatusCode::kInvalidArgument) << id;
  }
  EXPECT_TRUE(CheckId(std::string(1024, 'x')).ok());
  EXPECT_FALSE(CheckId(std::string(1025, 'x')).ok());
  EXPECT_TRUE(CheckId("a_b+c-d.e").ok());
}

TEST_F(StateDirTest, AReusedPidIsStopped) {
  const StateDir dir = *StateDir::Make(root_, "c1");
  SavedState state = Example();
  EXPECT_EQ(CurrentStatus(dir, state), oci::Status::kRunning);
  state.start_time++;
  EXPECT_EQ(CurrentStatus(dir, state), oci::Status::kStopped);
}

TEST_F(StateDirTest, AZombieIsStopped) {
  const StateDir dir = *StateDir::Make(root_, "c1");
  const pid_t child = fork();
  if (child == 0) _exit(0);
  SavedState state = Example();
  state.pid = child;
  state.start_time = *sys::ProcessStartTime(child);
  const auto pidfd = *sys::PidFd::Open(child);
  ASSERT_TRUE(pidfd.WaitExited(absl::Seconds(10)));
  EXPECT_EQ(CurrentStatus(dir, state), oci::Status::kStopped);
  (void)pidfd.Reap(sys::PidFd::Block::kWait);
}

}  // namespace
}  // namespace gantry::container
