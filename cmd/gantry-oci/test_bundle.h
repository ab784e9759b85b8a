// For tests of the program: a bundle with busybox as its root file system, and runs of the program on it.
#ifndef GANTRY_CMD_GANTRY_OCI_TEST_BUNDLE_H_
#define GANTRY_CMD_GANTRY_OCI_TEST_BUNDLE_H_

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/oci/spec.h"
#include "runtime/sys/file.h"
#include "runtime/sys/spawn.h"

namespace gantry::oci_cli {

struct Outcome {
  int code = -1;
  std::string out, err;
};

// The program, in a directory of its own.
class ProgramCase : public ::testing::Test {
 protected:
  explicit ProgramCase(std::string binary) : binary_(std::move(binary)) {}

  static constexpr size_t kLimit = 16 << 20;

  void SetUp() override {
    char pattern[] = "/tmp/gantry-oci-test-XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    dir_ = pattern;
    id_ = dir_.substr(dir_.rfind('/') + 1);
    chmod(dir_.c_str(), 0755);
  }

  void TearDown() override {
    if (dir_.empty()) return;
    Command({"delete", "--force", id_});
    EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, dir_).ok());
  }

  // The root file system of a bundle, and `spec_` for it. Skips the test where that cannot be.
  void MakeRoot() {
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    const auto busybox = sys::ReadFileAt(AT_FDCWD, "/bin/busybox", kLimit);
    if (!busybox.ok()) GTEST_SKIP() << "needs a static /bin/busybox, package busybox-static";
    for (const char* name : {"/rootfs", "/rootfs/bin", "/rootfs/proc", "/rootfs/dev", "/rootfs/sys"}) {
      ASSERT_EQ(mkdir((dir_ + name).c_str(), 0755), 0);
    }
    ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, dir_ + "/rootfs/bin/busybox", *busybox, 0755,
                                     sys::Durability::kVolatile)
                    .ok());
    for (const char* applet : {"sh", "cat", "id", "ip", "sleep", "ls", "readlink", "stat", "tty", "mount"})
      ASSERT_EQ(symlink("busybox", absl::StrCat(dir_, "/rootfs/bin/", applet).c_str()), 0);
    spec_ = oci::DefaultSpec();
    spec_.process->terminal = false;
    spec_.process->rlimits.clear();
    spec_.linux->cgroups_path = "/" + id_;
  }

  void WriteConfig(const std::string& script) {
    if (!script.empty()) spec_.process->args = {"/bin/sh", "-c", script};
    ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, dir_ + "/config.json", oci::ToJson(spec_), 0644,
                                     sys::Durability::kVolatile)
                    .ok());
  }

  // Any program, to its end or for 30 s.
  Outcome RunProgram(std::vector<std::string> argv,
                     std::vector<std::string> env = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}) {
    const std::string out = dir_ + "/out", err = dir_ + "/err";
    auto out_fd = sys::OpenAt(AT_FDCWD, out, O_RDWR | O_CREAT | O_TRUNC, 0666);
    auto err_fd = sys::OpenAt(AT_FDCWD, err, O_RDWR | O_CREAT | O_TRUNC, 0666);
    sys::SpawnOptions options;
    options.path = argv[0];
    options.argv = argv;
    options.env = std::move(env);
    options.fds = {{out_fd->get(), 1}, {err_fd->get(), 2}};
    auto child = sys::Spawn(options);
    Outcome outcome;
    EXPECT_TRUE(child.ok()) << child.status();
    if (!child.ok()) return outcome;
    EXPECT_TRUE(child->pidfd.WaitExited(absl::Seconds(30))) << argv[0] << " hangs";
    if (!child->pidfd.Exited()) child->pidfd.Signal(SIGKILL).IgnoreError();
    auto status = child->pidfd.Reap(sys::PidFd::Block::kWait);
    if (status.ok() && status->has_value()) outcome.code = (*status)->Code();
    outcome.out = sys::ReadFileAt(AT_FDCWD, out, kLimit).value_or("");
    outcome.err = sys::ReadFileAt(AT_FDCWD, err, kLimit).value_or("");
    return outcome;
  }

  Outcome Command(const std::vector<std::string>& arguments) {
    std::vector<std::string> argv = {binary_, "--root", dir_ + "/state"};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return RunProgram(std::move(argv));
  }

  const std::string binary_;  // the gantry-oci under test
  std::string dir_, id_;
  oci::Spec spec_;
};

// One that always has a bundle.
class BundleTest : public ProgramCase {
 protected:
  using ProgramCase::ProgramCase;

  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(ProgramCase::SetUp());
    MakeRoot();
  }
};

}  // namespace gantry::oci_cli

#endif  // GANTRY_CMD_GANTRY_OCI_TEST_BUNDLE_H_
