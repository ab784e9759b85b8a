// Containers of an ordinary user, on the real kernel: the test, as root, becomes that user with setpriv(1). What the
// machine gives to users is laid over in a mount namespace of the test's own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cmd/gantry-oci/test_bundle.h"

namespace gantry::oci_cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int kUser = 47114;

class RootlessTest : public BundleTest {
 protected:
  RootlessTest() : BundleTest(GANTRY_OCI_BINARY) {}
  void SetUp() override {
    BundleTest::SetUp();
    if (IsSkipped()) return;
    if (access("/usr/bin/setpriv", X_OK) != 0) GTEST_SKIP() << "needs setpriv(1)";
    const Outcome probe =
        RunProgram({"/usr/bin/setpriv", absl::StrCat("--reuid=", kUser), absl::StrCat("--regid=", kUser),
                    "--clear-groups", "/usr/bin/unshare", "--user", "/bin/true"});
    if (probe.code != 0) GTEST_SKIP() << "ordinary users may make no user namespaces here: " << probe.err;
    ASSERT_EQ(chmod((dir_ + "/out").c_str(), 0666), 0);
    ASSERT_EQ(chmod((dir_ + "/err").c_str(), 0666), 0);
    runtime_dir_ = dir_ + "/user";
    ASSERT_EQ(mkdir(runtime_dir_.c_str(), 0700), 0);
    ASSERT_EQ(chown(runtime_dir_.c_str(), kUser, kUser), 0);
    // What `spec --rootless` writes.
    for (auto it = spec_.linux->namespaces.begin(); it != spec_.linux->namespaces.end(); ++it) {
      if (it->type == oci::NamespaceType::kNetwork) {
        spec_.linux->namespaces.erase(it);
        break;
      }
    }
    spec_.linux->namespaces.push_back({oci::NamespaceType::kUser, ""});
    spec_.linux->uid_mappings = {{0, kUser, 1}};
    spec_.linux->gid_mappings = {{0, kUser, 1}};
    spec_.linux->cgroups_path.clear();
    spec_.linux->resources.reset();
    for (size_t i = spec_.mounts.size(); i-- > 0;) {
      if (spec_.mounts[i].destination == "/sys/fs/cgroup")
        spec_.mounts.erase(spec_.mounts.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  void TearDown() override {
    if (!runtime_dir_.empty()) AsUser({"delete", "--force", id_});
    BundleTest::TearDown();
  }

  std::vector<std::string> UserArgv(const std::vector<std::string>& arguments) {
    std::vector<std::string> argv = {"/usr/bin/setpriv", absl::StrCat("--reuid=", kUser),
                                     absl::StrCat("--regid=", kUser), "--clear-groups", GANTRY_OCI_BINARY};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return argv;
  }
  Outcome AsUser(const std::vector<std::string>& arguments) {
    return RunProgram(UserArgv(arguments),
                      {"PATH=/usr/bin:/bin", absl::StrCat("XDG_RUNTIME_DIR=", runtime_dir_)});
  }

  std::string runtime_dir_;
};

TEST_F(RootlessTest, OneNumberNeedsNoHelp) {
  WriteConfig("id -u; id -g; cat /proc/self/setgroups; ls -l /dev/null; echo x > /dev/null && echo fine");
  const Outcome outcome = AsUser({"run", "--bundle", dir_, id_});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, testing::StartsWith("0\n0\ndeny\n"));
  EXPECT_THAT(outcome.out, HasSubstr("1,   3"));
  EXPECT_THAT(outcome.out, testing::EndsWith("fine\n"));
  // DefaultSpec's group of the terminals is not mapped.
  EXPECT_THAT(outcome.err, HasSubstr("gid=5 is left out"));
}

TEST_F(RootlessTest, AContainerHasItsWholeLife) {
  WriteConfig("sleep 60");
  const Outcome created = AsUser({"create", "--bundle", dir_, id_});
  EXPECT_EQ(created.code, 0) << created.err;
  EXPECT_EQ(access(absl::StrCat(runtime_dir_, "/gantry-oci/", id_).c_str(), F_OK), 0);
  EXPECT_EQ(AsUser({"start", id_}).code, 0);
  EXPECT_THAT(AsUser({"state", id_}).out, HasSubstr("\"running\""));
  const Outcome exec = AsUser({"exec", id_, "/bin/sh", "-c", "id -u; cat /proc/1/cmdline"});
  EXPECT_EQ(exec.code, 0) << exec.err;
  EXPECT_THAT(exec.out, testing::StartsWith("0\nsleep"));
  EXPECT_EQ(AsUser({"kill", id_, "KILL"}).code, 0);
  Outcome gone;
  for (int i = 0; i < 300 && (gone = AsUser({"delete", id_})).code != 0; i++) usleep(10000);
  EXPECT_EQ(gone.code, 0) << gone.err;
}

TEST_F(RootlessTest, WhatCannotBeIsSaid) {
  spec_.process->user.additional_gids = {7};
  WriteConfig("true");
  EXPECT_THAT(AsUser({"run", "--bundle", dir_, id_}).err, HasSubstr("additionalGids"));
  spec_.process->user.additional_gids.clear();
  spec_.linux->namespaces.pop_back();
  spec_.linux->uid_mappings.clear();
  spec_.linux->gid_mappings.clear();
  WriteConfig("true");
  EXPECT_THAT(AsUser({"run", "--bundle", dir_, id_}).err, HasSubstr("needs a user namespace"));
}

TEST_F(RootlessTest, ACgroupThatMayNotBeMadeIsLeftOutUnlessItIsWanted) {
  spec_.linux->cgroups_path = "/" + id_;
  WriteConfig("true");
  const Outcome outcome = AsUser({"run", "--bundle", dir_, id_});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("no cgroup"));
  EXPECT_EQ(AsUser({"--rootless=false", "run", "--bundle", dir_, id_}).code, 1);
}

TEST_F(RootlessTest, MoreNumbersComeFromSubuid) {
  spec_.linux->uid_mappings = {{0, kUser, 1}, {1, 300000, 1000}};
  spec_.linux->gid_mappings = {{0, kUser, 1}, {1, 300000, 1000}};
  spec_.process->user.uid = 7;
  spec_.process->user.gid = 8;
  spec_.process->user.additional_gids = {9};
  WriteConfig("id");
  if (access("/usr/bin/newuidmap", X_OK) != 0) {
    EXPECT_THAT(AsUser({"run", "--bundle", dir_, id_}).err, HasSubstr("newuidmap is not installed"));
    GTEST_SKIP() << "needs newuidmap(1)";
  }
  EXPECT_THAT(AsUser({"run", "--bundle", dir_, id_}).err, HasSubstr("/etc/subuid")) << "none was given to it";
  // newuidmap wants to know the user by name.
  const std::string files =
      absl::StrCat("set -e; cd ", dir_, "; cp /etc/passwd passwd; echo 'gantrytest:x:", kUser, ":", kUser,
                   "::/:/bin/sh' >> passwd; echo gantrytest:300000:1000 > sub; for f in passwd; do mount "
                   "--bind passwd /etc/passwd; done;"
                   " for f in /etc/subuid /etc/subgid; do mount --bind sub $f; done; exec ",
                   absl::StrJoin(UserArgv({"run", "--bundle", dir_, id_}), " "));
  if (access("/etc/subuid", F_OK) != 0 || access("/etc/subgid", F_OK) != 0)
    GTEST_SKIP() << "needs /etc/subuid and /etc/subgid";
  const Outcome outcome =
      RunProgram({"/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", files},
                 {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", absl::StrCat("XDG_RUNTIME_DIR=", runtime_dir_)});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("uid=7 gid=8 groups=9"));
}

}  // namespace
}  // namespace gantry::oci_cli
