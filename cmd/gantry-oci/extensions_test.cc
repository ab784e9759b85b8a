// What the specification added late, and namespaces of others, on the real kernel.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cmd/gantry-oci/test_bundle.h"

namespace gantry::oci_cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class ExtensionsTest : public BundleTest {
 protected:
  ExtensionsTest() : BundleTest(GANTRY_OCI_BINARY) {}
  oci::Namespace* Find(oci::NamespaceType type) {
    for (oci::Namespace& ns : spec_.linux->namespaces) {
      if (ns.type == type) return &ns;
    }
    return nullptr;
  }
};

TEST_F(ExtensionsTest, TheMemoryPolicyIsInForce) {
  if (syscall(SYS_set_mempolicy, 0, nullptr, 0) != 0) GTEST_SKIP() << "this kernel has no memory policies";
  if (access("/proc/self/numa_maps", R_OK) != 0) GTEST_SKIP() << "this kernel does not show memory policies";
  spec_.linux->memory_policy = {"MPOL_BIND", "0", {"MPOL_F_STATIC_NODES"}};
  WriteConfig("cat /proc/self/numa_maps");
  const Outcome outcome = Command({"run", "--bundle", dir_, id_});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("bind"));
  spec_.linux->memory_policy = {"MPOL_BIND", "1000", {}};
  WriteConfig("true");
  EXPECT_THAT(Command({"run", "--bundle", dir_, id_}).err, HasSubstr("set_mempolicy MPOL_BIND"));
  spec_.linux->memory_policy = {"MPOL_LOCAL", "0", {}};
  WriteConfig("true");
  EXPECT_THAT(Command({"run", "--bundle", dir_, id_}).err, HasSubstr("takes no nodes"));
}

TEST_F(ExtensionsTest, WithoutResctrlItsAbsenceIsNamed) {
  const std::string mounts = sys::ReadFileAt(AT_FDCWD, "/proc/self/mounts", 64 << 20).value_or("");
  if (absl::StrContains(mounts, " resctrl ")) GTEST_SKIP() << "this host has it";
  spec_.linux->intel_rdt.emplace().schemata = {"L3:0=f"};
  WriteConfig("true");
  const Outcome outcome = Command({"run", "--bundle", dir_, id_});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("linux.intelRdt: no resctrl file system is mounted"));
}

TEST_F(ExtensionsTest, ANetworkDeviceIsTheContainersFromTheStart) {
  const std::string ip = access("/sbin/ip", X_OK) == 0 ? "/sbin/ip" : "/usr/sbin/ip";
  if (access(ip.c_str(), X_OK) != 0) GTEST_SKIP() << "needs ip(8)";
  const std::string name = absl::StrCat("gt", getpid() % 1000000), peer = name + "p";
  if (RunProgram({ip, "link", "add", name, "type", "veth", "peer", "name", peer}).code != 0) {
    GTEST_SKIP() << "cannot make a veth device";
  }
  EXPECT_EQ(RunProgram({ip, "addr", "add", "10.123.45.6/24", "dev", name}).code, 0);
  spec_.linux->net_devices[name].name = "inner";
  spec_.linux->sysctl["net.ipv4.conf.inner.forwarding"] = "1";
  // A failed create gives it back.
  spec_.process->args = {"/no/such/program"};
  WriteConfig("");
  EXPECT_EQ(Command({"run", "--bundle", dir_, id_}).code, 1);
  EXPECT_THAT(RunProgram({ip, "addr", "show", "dev", name}).out, HasSubstr("10.123.45.6/24"));
  WriteConfig("ip addr show dev inner; cat /proc/sys/net/ipv4/conf/inner/forwarding");
  const Outcome outcome = Command({"run", "--bundle", dir_, id_});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("10.123.45.6/24"));
  EXPECT_THAT(outcome.out, HasSubstr("UP"));
  EXPECT_THAT(outcome.out, testing::EndsWith("\n1\n"));
  // It went with the namespace.
  EXPECT_NE(RunProgram({ip, "link", "show", "dev", name}).code, 0);
  RunProgram({ip, "link", "del", peer});
  spec_.linux->sysctl.clear();
  WriteConfig("true");
  EXPECT_THAT(Command({"run", "--bundle", dir_, id_}).err,
              HasSubstr(absl::StrCat("no network device ", name)));
}

// A process in a mount namespace of its own, whose /tmp/... only it sees.
TEST_F(ExtensionsTest, AMountNamespaceMayBeJoined) {
  const std::string hidden = dir_ + "/hidden";
  ASSERT_EQ(mkdir(hidden.c_str(), 0755), 0);
  sys::SpawnOptions options;
  options.path = "/usr/bin/unshare";
  options.argv = {"unshare",
                  "--mount",
                  "--propagation",
                  "private",
                  "/bin/sh",
                  "-c",
                  absl::StrCat("mount -t tmpfs none ", hidden, " && echo secret > ", hidden, "/file && : > ",
                               dir_, "/ready && exec sleep 60")};
  options.env = {"PATH=/usr/bin:/bin"};
  options.parent_death_signal = SIGKILL;
  auto holder = sys::Spawn(options);
  if (!holder.ok()) GTEST_SKIP() << "needs unshare(1)";
  for (int i = 0; i < 1000 && access((dir_ + "/ready").c_str(), F_OK) != 0; i++) usleep(10000);
  const std::string ns = absl::StrCat("/proc/", holder->pid, "/ns/mnt");
  Find(oci::NamespaceType::kMount)->path = ns;
  oci::Mount bind;
  bind.destination = "/seen";
  bind.type = "bind";
  bind.source = hidden;
  bind.options = {"rbind"};
  spec_.mounts.push_back(bind);
  WriteConfig("cat /seen/file; readlink /proc/self/ns/mnt; sleep 60");
  const Outcome run = Command({"run", "--detach", "--bundle", dir_, id_});
  EXPECT_EQ(run.code, 0) << run.err;
  char link[64] = {};
  EXPECT_GT(readlink(ns.c_str(), link, sizeof link - 1), 0);
  const Outcome exec =
      Command({"exec", id_, "/bin/sh", "-c", "readlink /proc/self/ns/mnt; ls /; cat /seen/file"});
  EXPECT_EQ(exec.code, 0) << exec.err;
  EXPECT_THAT(exec.out, HasSubstr(link));
  EXPECT_THAT(exec.out, HasSubstr("\nseen\n"));
  EXPECT_THAT(exec.out, HasSubstr("\nsecret\n"));
  EXPECT_THAT(exec.out, Not(HasSubstr("\nhome\n"))) << "the container's root, not the namespace's";
  EXPECT_THAT(run.err, HasSubstr("CAP_SYS_CHROOT is left out"));
  // Whoever lives there sees his own root still.
  EXPECT_EQ(access(absl::StrCat("/proc/", holder->pid, "/root", dir_, "/config.json").c_str(), F_OK), 0);
  EXPECT_EQ(Command({"delete", "--force", id_}).code, 0);
  const std::string mounts =
      sys::ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", holder->pid, "/mounts"), 64 << 20).value_or("");
  EXPECT_THAT(mounts, Not(HasSubstr(dir_ + "/rootfs"))) << "taken away again";
  // So is that of a create that fails.
  WriteConfig("");
  spec_.process->args = {"/no/such/program"};
  WriteConfig("");
  EXPECT_EQ(Command({"run", "--bundle", dir_, id_}).code, 1);
  EXPECT_THAT(
      sys::ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", holder->pid, "/mounts"), 64 << 20).value_or(""),
      Not(HasSubstr(dir_ + "/rootfs")));
  holder->pidfd.Signal(SIGKILL).IgnoreError();
  holder->pidfd.Reap(sys::PidFd::Block::kWait).status().IgnoreError();
}

TEST_F(ExtensionsTest, ExecEntersACgroupBelow) {
  const std::string freezer = absl::StrCat("/sys/fs/cgroup/freezer/", id_);
  WriteConfig("sleep 60");
  ASSERT_EQ(Command({"run", "--detach", "--bundle", dir_, id_}).code, 0);
  if (access(freezer.c_str(), F_OK) != 0) GTEST_SKIP() << "needs the freezer of cgroup version 1";
  EXPECT_THAT(Command({"exec", "--cgroup", "freezer:sub", id_, "/bin/sh", "-c", "true"}).err,
              HasSubstr("there is no"));
  ASSERT_EQ(mkdir((freezer + "/sub").c_str(), 0755), 0);
  EXPECT_THAT(Command({"exec", "--cgroup", "freezer:../..", id_, "/bin/sh", "-c", "true"}).err,
              HasSubstr(".."));
  Find(oci::NamespaceType::kCgroup);
  const Outcome outcome =
      Command({"exec", "--cgroup", "freezer:sub", id_, "/bin/sh", "-c", "cat /proc/self/cgroup"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("freezer:/sub\n"));
}

}  // namespace
}  // namespace gantry::oci_cli
