// A container's life on the real kernel: created, started, entered, killed, deleted.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/container/container.h"
#include "runtime/sys/failpoint.h"
#include "runtime/sys/file.h"
#include "runtime/sys/spawn.h"
#include "runtime/sys/status.h"

namespace gantry::container {
namespace {

// Runs a program of the host to its end; whether it succeeded.
bool RunHost(const std::vector<std::string>& argv) {
  sys::SpawnOptions options;
  options.path = argv[0];
  options.argv = argv;
  options.fds = {{2, 2}};
  auto child = sys::Spawn(options);
  if (!child.ok()) return false;
  auto status = child->pidfd.Reap(sys::PidFd::Block::kWait);
  return status.ok() && (*status)->Code() == 0;
}

class LifeTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    if (access("/bin/busybox", X_OK) != 0) GTEST_SKIP() << "needs a static /bin/busybox";
    ASSERT_NE(mkdtemp(directory_), nullptr);
    ASSERT_EQ(chmod(directory_, 0755), 0);
    bundle_ = directory_;
    const std::string bin = absl::StrCat(bundle_, "/rootfs/bin");
    ASSERT_TRUE(sys::MkdirAll(bin, 0755).ok());
    ASSERT_TRUE(RunHost({"/bin/cp", "/bin/busybox", absl::StrCat(bin, "/busybox")}));
    for (const char* applet : {"sh", "sleep", "cat", "true", "id", "echo", "ls", "hostname"}) {
      ASSERT_EQ(symlink("busybox", absl::StrCat(bin, "/", applet).c_str()), 0);
    }
    spec_ = oci::DefaultSpec();
    spec_.process->terminal = false;
    spec_.linux->cgroups_path = absl::StrCat("/gantry-", bundle_.substr(bundle_.rfind('/') + 1));
    output_path_ = absl::StrCat(bundle_, "/output");
    output_.reset(open(output_path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_APPEND, 0644));
    ASSERT_TRUE(output_.valid());
  }
  void TearDown() override {
    if (bundle_.empty()) return;
    EXPECT_TRUE(RunHost({"/bin/rm", "-rf", bundle_}));
  }

  CreateOptions Options() {
    CreateOptions options;
    options.id = "test";
    options.bundle = bundle_;
    options.spec = &spec_;
    options.stdio = {-1, output_.get(), output_.get()};
    return options;
  }

  void Script(const std::string& text) { spec_.process->args = {"/bin/sh", "-c", text}; }

  std::string Output() {
    auto text = sys::ReadFileAt(AT_FDCWD, output_path_, 1 << 20);
    return text.ok() ? *text : std::string(text.status().message());
  }

  // Starts, waits for the end, deletes; the exit code.
  int Finish(absl::StatusOr<Container>& container) {
    StartControl control(std::move(container->control));
    const absl::Status started = control.Start();
    EXPECT_TRUE(started.ok()) << started;
    return End(container);
  }

  int End(absl::StatusOr<Container>& container) {
    auto status = container->pidfd.Reap(sys::PidFd::Block::kWait);
    EXPECT_TRUE(status.ok()) << status.status();
    DeleteOptions options;
    options.cgroup = container->cgroup;
    options.kill = true;
    const absl::Status deleted = Delete(options);
    EXPECT_TRUE(deleted.ok()) << deleted;
    for (const cgroup::Directory& directory : container->cgroup.directories()) {
      EXPECT_NE(access(directory.path.c_str(), F_OK), 0) << directory.path;
    }
    return status.ok() ? (*status)->Code() : -1;
  }

  char directory_[32] = "/tmp/life_test.XXXXXX";
  std::string bundle_, output_path_;
  oci::Spec spec_;
  sys::UniqueFd output_;
};

TEST_F(LifeTest, RunsAProgramToItsExitCode) {
  Script("echo $$; hostname; exit 7");
  spec_.hostname = "inside";
  auto container = Create(Options());
  ASSERT_TRUE(container.ok()) << container.status();
  EXPECT_EQ(Output(), "");
  EXPECT_EQ(Finish(container), 7);
  EXPECT_EQ(Output(), "1\ninside\n");
}

TEST_F(LifeTest, ContainerdsRootIsAssembledOutOfSight) {
  for (const char* name : {"upper", "work", "rootfs2"}) {
    ASSERT_EQ(mkdir(absl::StrCat(bundle_, "/", name).c_str(), 0755), 0);
  }
  CreateOptions options = Options();
  options.rootfs_mounts = {{"overlay",
                            "overlay",
                            "",
                            {absl::StrCat("lowerdir=", bundle_, "/rootfs2:", bundle_, "/rootfs"),
                             absl::StrCat("upperdir=", bundle_, "/upper"),
                             absl::StrCat("workdir=", bundle_, "/work"), "volatile"}}};
  Script("echo new > /made; exec sleep 100");
  auto container = Create(options);
  ASSERT_TRUE(container.ok()) << container.status();
  EXPECT_TRUE(container->root_mount.valid());
  auto mounts = sys::ReadFileAt(AT_FDCWD, "/proc/self/mountinfo", 16 << 20);
  ASSERT_TRUE(mounts.ok());
  EXPECT_FALSE(absl::StrContains(*mounts, bundle_));
  StartControl control(std::move(container->control));
  ASSERT_TRUE(control.Start().ok());
  for (int i = 0; i < 500 && access(absl::StrCat(bundle_, "/upper/made").c_str(), F_OK) != 0; i++)
    usleep(10000);
  EXPECT_EQ(access(absl::StrCat(bundle_, "/upper/made").c_str(), F_OK), 0);
  ASSERT_TRUE(container->pidfd.Signal(SIGKILL).ok());
  EXPECT_EQ(End(container), 128 + SIGKILL);
}

TEST_F(LifeTest, ExecJoinsTheContainer) {
  Script("exec sleep 100");
  spec_.hostname = "inside";
  auto container = Create(Options());
  ASSERT_TRUE(container.ok()) << container.status();
  StartControl control(std::move(container->control));
  ASSERT_TRUE(control.Start().ok());

  oci::Process process = *spec_.process;
  process.args = {"sh", "-c", "hostname; test -d /proc/1 && exit 5"};
  ExecOptions options;
  options.process = &process;
  options.spec = &spec_;
  options.init_pid = container->pid;
  options.init_pidfd = container->pidfd.fd();
  options.cgroup = container->cgroup;
  options.stdio = {-1, output_.get(), output_.get()};
  auto entered = Exec(options);
  ASSERT_TRUE(entered.ok()) << entered.status();
  auto status = entered->pidfd.Reap(sys::PidFd::Block::kWait);
  ASSERT_TRUE(status.ok());
  EXPECT_EQ((*status)->Code(), 5);
  EXPECT_EQ(Output(), "inside\n");

  process.args = {"no-such-program"};
  EXPECT_EQ(Exec(options).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(container->pidfd.Signal(SIGKILL).ok());
  End(container);
  EXPECT_EQ(Exec(options).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(LifeTest, AMissingProgramIsCreatesError) {
  spec_.process->args = {"no-such-program"};
  auto container = Create(Options());
  EXPECT_EQ(container.status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(container.status().message(), "exec: \"no-such-program\": executable file not found in $PATH");
  spec_.process->args = {"/bin"};
  EXPECT_EQ(Create(Options()).status().code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(LifeTest, AnUnstartableFileIsStartsError) {
  const std::string path = absl::StrCat(bundle_, "/rootfs/garbage");
  ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, path,
                                   "\x7f"
                                   "ELF garbage",
                                   0755, sys::Durability::kVolatile)
                  .ok());
  spec_.process->args = {"/garbage"};
  auto container = Create(Options());
  ASSERT_TRUE(container.ok()) << container.status();
  StartControl control(std::move(container->control));
  EXPECT_EQ(sys::ErrnoOf(control.Start()), ENOEXEC);
  End(container);
}

TEST_F(LifeTest, InitEndsWhenTheHolderGoes) {
  auto container = Create(Options());
  ASSERT_TRUE(container.ok()) << container.status();
  container->control.reset();
  EXPECT_TRUE(container->pidfd.WaitExited(absl::Seconds(10)));
  End(container);
}

TEST_F(LifeTest, AnotherProcessMayStartIt) {
  const std::string state = absl::StrCat(bundle_, "/state");
  ASSERT_EQ(mkdir(state.c_str(), 0700), 0);
  CreateOptions options = Options();
  options.state_dir = state;
  Script("exit 3");
  auto container = Create(options);
  ASSERT_TRUE(container.ok()) << container.status();
  EXPECT_TRUE(WaitsForStart(state));
  EXPECT_TRUE(WaitsForStart(state));  // looking does not start it
  auto control = StartControl::Connect(state);
  ASSERT_TRUE(control.ok()) << control.status();
  EXPECT_TRUE(control->Start().ok());
  EXPECT_EQ(StartControl::Connect(state).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_FALSE(WaitsForStart(state));
  EXPECT_EQ(End(container), 3);
}

// Whatever step fails, nothing is left.
TEST_F(LifeTest, EveryStepMayFail) {
  for (const char* step : {"Clone", "JoinCgroup", "NewSession", "LoopbackUp", "SetHostname", "SlaveMounts",
                           "AttachRoot", "MountFilesystem", "MakeDevice", "MaskPath", "ReadonlyPath",
                           "SwitchRoot", "SetUser", "SetCapabilities", "FindProgram", "AwaitStart"}) {
    const std::string name = absl::StrCat("linux.", step);
    spec_.hostname = "x";
    sys::SetFailpoint(name, ENOSPC);
    auto container = Create(Options());
    sys::SetFailpoint(name, 0);
    EXPECT_EQ(sys::ErrnoOf(container.status()), ENOSPC) << step << ": " << container.status();
    EXPECT_NE(access(absl::StrCat("/sys/fs/cgroup/memory", spec_.linux->cgroups_path).c_str(), F_OK), 0)
        << step;
  }
}

}  // namespace
}  // namespace gantry::container
