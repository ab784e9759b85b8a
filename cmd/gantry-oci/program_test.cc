// The program as its callers use it, on the real kernel. Needs root and a static busybox.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <functional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cmd/gantry-oci/test_bundle.h"
#include "runtime/cgroup/host.h"
#include "runtime/oci/json_node.h"
#include "runtime/oci/spec.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/file.h"

namespace gantry::oci_cli {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

class ProgramTest : public ProgramCase {
 protected:
  ProgramTest() : ProgramCase(GANTRY_OCI_BINARY) {}

  void TearDown() override {
    ProgramCase::TearDown();
    for (const std::string& point : Hierarchies()) {
      EXPECT_NE(access(absl::StrCat(point, "/", id_).c_str(), F_OK), 0)
          << "left behind: " << point << "/" << id_;
    }
  }

  std::vector<std::string> Hierarchies() {
    std::vector<std::string> points;
    auto host = cgroup::ProbeHost();
    if (host.ok()) {
      for (const auto& hierarchy : host->hierarchies) points.push_back(hierarchy.mount_point);
    }
    return points;
  }

  void MakeBundle(
      const std::string& script, const std::function<void(oci::Spec&)>& change = [](oci::Spec&) {}) {
    MakeRoot();
    if (IsSkipped() || HasFatalFailure()) return;
    spec_.process->args = {"/bin/sh", "-c", script};
    change(spec_);
    WriteConfig("");
  }

  std::string Status() {
    const Outcome outcome = Command({"state", id_});
    if (outcome.code != 0) return "none";
    for (const char* status : {"creating", "created", "running", "paused", "stopped"}) {
      if (absl::StrContains(outcome.out, absl::StrCat("\"status\": \"", status, "\""))) return status;
    }
    return outcome.out;
  }

  bool WaitFor(const std::string& status) {
    const sys::Deadline deadline = sys::Deadline::After(absl::Seconds(10));
    while (!deadline.Passed()) {
      if (Status() == status) return true;
      usleep(5000);
    }
    return false;
  }
};

TEST_F(ProgramTest, SaysWhatItIsAndWhatItKnows) {
  EXPECT_THAT(Command({"--version"}).out, StartsWith("gantry-oci version "));
  EXPECT_THAT(Command({"--version"}).out, HasSubstr("\nspec: 1."));
  EXPECT_THAT(Command({"--help"}).out, HasSubstr("\n  create "));
  EXPECT_THAT(Command({"exec", "--help"}).out, HasSubstr("--additional-gids"));
  oci::internal::Document document;
  EXPECT_TRUE(document.Parse(Command({"features"}).out, "features").ok());
}

TEST_F(ProgramTest, WrongUseIsAnErrorOfOneLine) {
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"no-such-command"},
                                             {"--no-such-option", "list"},
                                             {"state"},
                                             {"state", "a", "b"},
                                             {"state", "../x"},
                                             {"state", "unknown"},
                                             {"kill", "unknown", "NOSUCH"},
                                             {"list", "--format", "xml"},
                                             {"create", "--bundle", "", "x"}}) {
    const Outcome outcome = Command(arguments);
    EXPECT_EQ(outcome.code, 1) << arguments[0];
    EXPECT_THAT(outcome.err, StartsWith("gantry-oci: "));
    EXPECT_EQ(outcome.err.find('\n'), outcome.err.size() - 1) << outcome.err;
  }
  EXPECT_EQ(Command({"exec", "unknown", "true"}).code, 255);
  EXPECT_EQ(Command({"delete", "--force", "unknown"}).code, 0);
  EXPECT_EQ(Command({"list", "-q"}).out, "");
}

TEST_F(ProgramTest, SpecIsNotOverwritten) {
  EXPECT_EQ(Command({"spec", "--bundle", dir_}).code, 0);
  auto spec = oci::ParseSpec(sys::ReadFileAt(AT_FDCWD, dir_ + "/config.json", kLimit).value_or(""));
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_TRUE(oci::Validate(*spec).ok());
  EXPECT_THAT(Command({"spec", "--bundle", dir_}).err, HasSubstr("is there already"));
  ASSERT_EQ(unlink((dir_ + "/config.json").c_str()), 0);
  EXPECT_EQ(Command({"spec", "--rootless", "--bundle", dir_}).code, 0);
  spec = oci::ParseSpec(sys::ReadFileAt(AT_FDCWD, dir_ + "/config.json", kLimit).value_or(""));
  ASSERT_TRUE(spec.ok());
  EXPECT_TRUE(oci::Validate(*spec).ok());
  EXPECT_NE(spec->linux->FindNamespace(oci::NamespaceType::kUser), nullptr);
}

TEST_F(ProgramTest, RunPassesOutputAndExitStatusAndRemovesTheContainer) {
  ASSERT_NO_FATAL_FAILURE(MakeBundle("echo hello; echo oops >&2; exit 42"));
  if (IsSkipped()) return;
  const Outcome outcome = Command({"run", "--bundle", dir_, id_});
  EXPECT_EQ(outcome.code, 42) << outcome.err;
  EXPECT_EQ(outcome.out, "hello\n");
  EXPECT_EQ(outcome.err, "oops\n");
  EXPECT_EQ(Status(), "none");
}

// The order to start lies unread when the program is not found: what was told before must still arrive.
TEST_F(ProgramTest, RunOfAMissingProgramNamesIt) {
  MakeBundle("", [](oci::Spec& spec) { spec.process->args = {"/bin/no-such-program"}; });
  if (IsSkipped()) return;
  for (int i = 0; i < 10; i++) {
    const Outcome outcome = Command({"run", "--bundle", dir_, id_});
    EXPECT_EQ(outcome.code, 1);
    EXPECT_THAT(outcome.err, HasSubstr("no-such-program"));
  }
}

TEST_F(ProgramTest, AContainerLivesThroughItsStates) {
  ASSERT_NO_FATAL_FAILURE(MakeBundle("trap 'exit 3' TERM; while :; do sleep 0.01; done"));
  if (IsSkipped()) return;
  ASSERT_EQ(Command({"create", "--bundle", dir_, "--pid-file", dir_ + "/pid", id_}).code, 0);
  EXPECT_EQ(Status(), "created");
  EXPECT_EQ(Command({"create", "--bundle", dir_, id_}).code, 1) << "the id is taken";
  EXPECT_EQ(Command({"start", id_}).code, 0);
  EXPECT_EQ(Command({"start", id_}).code, 1) << "a second time";
  EXPECT_EQ(Status(), "running");
  EXPECT_THAT(Command({"list"}).out, HasSubstr(id_));
  const std::string pid = sys::ReadFileAt(AT_FDCWD, dir_ + "/pid", kLimit).value_or("");
  EXPECT_THAT(Command({"ps", "--format", "json", id_}).out, HasSubstr(pid));
  EXPECT_EQ(Command({"delete", id_}).code, 1) << "it runs";
  const Outcome exec =
      Command({"exec", "--env", "A=b", "--cwd", "/bin", id_, "/bin/sh", "-c", "pwd; echo $A; exit 7"});
  EXPECT_EQ(exec.code, 7) << exec.err;
  EXPECT_EQ(exec.out, "/bin\nb\n");
  EXPECT_THAT(Command({"events", "--stats", id_}).out, StartsWith("{\"type\": \"stats\""));
  EXPECT_EQ(Command({"kill", id_, "KILL"}).code, 0);
  // We are not init's parent, and whoever is may take a moment to reap it.
  EXPECT_TRUE(WaitFor("stopped"));
  EXPECT_EQ(Command({"kill", id_}).code, 1);
  EXPECT_EQ(Command({"delete", id_}).code, 0);
  EXPECT_EQ(Status(), "none");
}

TEST_F(ProgramTest, PausedIsAStateOfItsOwn) {
  ASSERT_NO_FATAL_FAILURE(MakeBundle("while :; do sleep 0.01; done"));
  if (IsSkipped()) return;
  auto host = cgroup::ProbeHost();
  if (!host.ok() || (host->Find("freezer") == nullptr && !host->unified_only()))
    GTEST_SKIP() << "needs a freezer";
  ASSERT_EQ(Command({"run", "--detach", "--bundle", dir_, id_}).code, 0);
  EXPECT_EQ(Command({"resume", id_}).code, 1);
  EXPECT_EQ(Command({"pause", id_}).code, 0);
  EXPECT_EQ(Status(), "paused");
  EXPECT_THAT(Command({"exec", id_, "/bin/true"}).err, HasSubstr("is paused"));
  EXPECT_EQ(Command({"resume", id_}).code, 0);
  EXPECT_EQ(Status(), "running");
  EXPECT_EQ(Command({"pause", id_}).code, 0);
  EXPECT_EQ(Command({"delete", "--force", id_}).code, 0) << "also while it is paused";
}

TEST_F(ProgramTest, AFailedCreateSaysWhyInTheLogAndLeavesNothing) {
  ASSERT_NO_FATAL_FAILURE(
      MakeBundle("true", [](oci::Spec& spec) { spec.process->args = {"/no/such/program-77"}; }));
  if (IsSkipped()) return;
  const std::string log = dir_ + "/log.json";
  const Outcome outcome = Command({"--log", log, "--log-format", "json", "run", "--bundle", dir_, id_});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_THAT(outcome.err, HasSubstr("program-77"));
  const std::string line = sys::ReadFileAt(AT_FDCWD, log, kLimit).value_or("");
  EXPECT_THAT(line, StartsWith("{\"level\": \"error\",\"msg\": \""));
  EXPECT_THAT(line, HasSubstr("program-77"));
  EXPECT_EQ(Status(), "none");
  EXPECT_EQ(Command({"list", "-q"}).out, "");
}

TEST_F(ProgramTest, UpdateChangesALimit) {
  ASSERT_NO_FATAL_FAILURE(MakeBundle("while :; do sleep 0.01; done"));
  if (IsSkipped()) return;
  auto host = cgroup::ProbeHost();
  if (!host.ok() || host->Find("pids") == nullptr) GTEST_SKIP() << "needs a pids controller";
  ASSERT_EQ(Command({"run", "--detach", "--bundle", dir_, id_}).code, 0);
  EXPECT_EQ(Command({"update", "--pids-limit", "33", id_}).code, 0);
  const std::string file = absl::StrCat(host->Find("pids")->mount_point, "/", id_, "/pids.max");
  EXPECT_EQ(sys::ReadFileAt(AT_FDCWD, file, kLimit).value_or(""), "33\n");
  EXPECT_EQ(Command({"update", "--memory", "lots", id_}).code, 1);
}

}  // namespace
}  // namespace gantry::oci_cli
