#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "runtime/container/container.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/status.h"

namespace gantry::container {
namespace {

class TransferTest : public testing::Test {
 protected:
  void SetUp() override { pair_ = *sys::MakeSocketPair(SOCK_SEQPACKET); }
  int builder() { return pair_.first.get(); }
  int holder() { return pair_.second.get(); }
  sys::SocketPair pair_;
};

TEST_F(TransferTest, AContainerArrivesWithItsDescriptors) {
  Container sent;
  sent.pid = 4711;
  sent.start_time = 1234567890123;
  sent.pidfd = *sys::PidFd::Open(getpid());
  sent.root_mount = sys::UniqueFd(open("/", O_PATH | O_CLOEXEC));
  sent.cgroup = cgroup::Cgroup({{.version = 1,
                                 .controllers = "cpu,cpuacct",
                                 .mount_point = "/sys/fs/cgroup/cpu",
                                 .path = "/sys/fs/cgroup/cpu/c1"}});
  sent.warnings = {"one", "two"};
  ASSERT_TRUE(SendContainer(builder(), std::move(sent)).ok());

  const auto got = ReceiveContainer(holder());
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->pid, 4711);
  EXPECT_EQ(got->start_time, 1234567890123u);
  EXPECT_TRUE(got->pidfd.valid());
  EXPECT_FALSE(got->pidfd.Exited());
  EXPECT_TRUE(got->root_mount.valid());
  EXPECT_FALSE(got->control.valid());
  EXPECT_FALSE(got->pty_master.valid());
  ASSERT_EQ(got->cgroup.directories().size(), 1u);
  EXPECT_EQ(got->cgroup.PathOf("cpuacct"), "/sys/fs/cgroup/cpu/c1");
  EXPECT_EQ(got->warnings, (std::vector<std::string>{"one", "two"}));
}

TEST_F(TransferTest, AnErrorArrivesWithItsCodeAndErrno) {
  ASSERT_TRUE(SendContainer(builder(), sys::ErrnoStatus("execve", "/bin/x", EACCES)).ok());
  const absl::Status status = ReceiveContainer(holder()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(status.message(), "execve /bin/x: Permission denied");
  EXPECT_EQ(sys::ErrnoOf(status), EACCES);
}

TEST_F(TransferTest, AnExecProcessArrives) {
  ExecProcess sent;
  sent.pid = 12;
  sent.pidfd = *sys::PidFd::Open(getpid());
  ASSERT_TRUE(SendExecProcess(builder(), std::move(sent)).ok());
  const auto got = ReceiveExecProcess(holder());
  ASSERT_TRUE(got.ok()) << got.status();
  EXPECT_EQ(got->pid, 12);
  EXPECT_TRUE(got->pidfd.valid());
}

TEST_F(TransferTest, ABuilderThatDiedIsAnError) {
  pair_.first.reset();
  EXPECT_EQ(ReceiveContainer(holder()).status().code(), absl::StatusCode::kInternal);
}

TEST_F(TransferTest, AShortMessageIsAnError) {
  ASSERT_EQ(send(builder(), "\0\0\0\0abc", 7, 0), 7);
  EXPECT_FALSE(ReceiveContainer(holder()).ok());
  ASSERT_EQ(send(builder(), "x", 1, 0), 1);
  EXPECT_FALSE(ReceiveExecProcess(holder()).ok());
}

}  // namespace
}  // namespace gantry::container
