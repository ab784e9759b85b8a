// The shim with another OCI runtime's program (BinaryName): the same life, made by runc and by crun.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "api/any/any.h"
#include "api/proto/containerd/events/task.pb.h"
#include "api/proto/containerd/types/runc/options/oci.pb.h"
#include "gmock/gmock.h"
#include "runtime/sys/file.h"
#include "shim/test/harness.h"

namespace gantry::shim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

namespace v3 = containerd::task::v3;

class ProgramTest : public ShimTest, public ::testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    ShimTest::SetUp();
    if (IsSkipped()) return;
    if (access(GetParam(), X_OK) != 0) GTEST_SKIP() << "needs " << GetParam();
    if (absl::EndsWith(GetParam(), "crun") && ControllersAreMixed()) {
      GTEST_SKIP()
          << "crun refuses hosts with controllers of both versions; ctest runs this without the second";
    }
    UseProgram(GetParam());
  }
  static bool ControllersAreMixed() {
    const auto unified = sys::ReadFileAt(AT_FDCWD, "/sys/fs/cgroup/unified/cgroup.controllers", 4096);
    return unified.ok() && unified->size() > 1;
  }
  void UseProgram(const std::string& program) {
    containerd::runc::v1::Options options;
    options.set_binary_name(program);
    options.set_root(directory_ + "/runtime-root");
    any::Pack(options, &options_);
  }
  // crun knows no newer version of the specification.
  void MakeBundle(std::vector<std::string> args, bool terminal = false) {
    ShimTest::MakeBundle(std::move(args), [terminal](oci::Spec* spec) {
      spec->oci_version = "1.0.2";
      spec->process->terminal = terminal;
    });
  }
  // What the program itself keeps of its containers.
  bool StateGone() const {
    const std::string root = directory_ + "/runtime-root";
    if (access(root.c_str(), F_OK) != 0) return true;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
      if (entry.path().filename() == id_) return false;
    }
    return true;
  }
  bool RootIsNotMounted() const {
    return !absl::StrContains(*sys::ReadFileAt(AT_FDCWD, "/proc/self/mountinfo", 16 << 20), bundle_);
  }
};

TEST_P(ProgramTest, CreateStartExitDelete) {
  MakeBundle({"sh", "-c", "echo out; echo err >&2; exit 7"});
  Serve();
  const std::string out = directory_ + "/out";
  const auto pid = Create({"", "file://" + out, "", false});
  ASSERT_TRUE(pid.ok()) << pid.status();
  EXPECT_FALSE(CgroupGone());
  EXPECT_FALSE(StateGone()) << "the program was not asked";
  EXPECT_TRUE(RootIsNotMounted()) << "the host sees the container's root";
  EXPECT_EQ(State()->status(), containerd::v1::types::CREATED);
  const auto started = Start();
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(*started, *pid);
  EXPECT_EQ(*Wait(), 7);
  EXPECT_EQ(*Delete(), 7);
  EXPECT_EQ(*sys::ReadFileAt(AT_FDCWD, out, 100), "out\nerr\n");
  EXPECT_TRUE(CgroupGone());
  EXPECT_TRUE(StateGone());
  RunUntil([this] { return events_.size() == 4; }, "events");
  EXPECT_THAT(Topics(), ElementsAre("/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"));
  EXPECT_TRUE(Shutdown().ok());
  RunUntil([this] { return ShimGone(); }, "the shim to end");
}

TEST_P(ProgramTest, ExecPauseUpdateStatsKill) {
  MakeBundle({"sleep", "1000"});
  Serve();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Start().ok());
  const std::string out = directory_ + "/out";
  ASSERT_TRUE(Exec("e", {"sh", "-c", "echo hello; exit 3"}, {"", "file://" + out, "", false}).ok());
  const auto exec = Start("e");
  ASSERT_TRUE(exec.ok()) << exec.status();
  EXPECT_EQ(*Wait("e"), 3);
  EXPECT_EQ(*Delete("e"), 3);
  EXPECT_EQ(*sys::ReadFileAt(AT_FDCWD, out, 100), "hello\n");

  EXPECT_TRUE(Simple("Pause").ok()) << Simple("Pause");
  EXPECT_EQ(State()->status(), containerd::v1::types::PAUSED);
  EXPECT_TRUE(Simple("Resume").ok());
  EXPECT_EQ(State()->status(), containerd::v1::types::RUNNING);

  v3::UpdateTaskRequest update;
  update.set_id(id_);
  any::PackJson(any::kLinuxResources, "{\"pids\":{\"limit\":77}}", update.mutable_resources());
  const auto updated = CallRaw("containerd.task.v3.Task", "Update", update.SerializeAsString());
  EXPECT_TRUE(updated.ok()) << updated.status();
  v3::StatsRequest stats;
  stats.set_id(id_);
  const auto metrics = Call<v3::StatsResponse>("Stats", stats);
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  EXPECT_THAT(metrics->stats().type_url(), HasSubstr("io.containerd.cgroups."));
  v3::PidsRequest pids;
  pids.set_id(id_);
  EXPECT_EQ(Call<v3::PidsResponse>("Pids", pids)->processes_size(), 1);

  EXPECT_TRUE(Kill(SIGKILL).ok());
  EXPECT_EQ(*Wait(), 137);
  EXPECT_TRUE(absl::IsNotFound(Kill(SIGTERM)));
  EXPECT_EQ(*Delete(), 137);
  EXPECT_TRUE(CgroupGone());
  EXPECT_TRUE(StateGone());
}

TEST_P(ProgramTest, ATerminalIsDelivered) {
  MakeBundle({"sh", "-c", "stty size; read line; echo got $line"}, /*terminal=*/true);
  Serve();
  const std::string in = MakeFifo("in"), out = MakeFifo("out");
  const sys::UniqueFd reader(open(out.c_str(), O_RDWR | O_CLOEXEC));
  const auto pid = Create({in, out, "", true});
  ASSERT_TRUE(pid.ok()) << pid.status();
  const sys::UniqueFd writer(open(in.c_str(), O_WRONLY | O_CLOEXEC));
  v3::ResizePtyRequest resize;
  resize.set_id(id_);
  resize.set_width(99);
  resize.set_height(33);
  ASSERT_TRUE(CallRaw("containerd.task.v3.Task", "ResizePty", resize.SerializeAsString()).ok());
  ASSERT_TRUE(Start().ok());
  ASSERT_TRUE(sys::WriteAll(writer.get(), "word\n").ok());
  EXPECT_EQ(*Wait(), 0);
  const std::string text = ReadSome(reader.get(), 4096, absl::Milliseconds(300));
  EXPECT_THAT(text, HasSubstr("33 99"));
  EXPECT_THAT(text, HasSubstr("got word"));
  EXPECT_EQ(*Delete(), 0);
}

TEST_P(ProgramTest, WhatTheProgramComplainsOfIsTheError) {
  MakeBundle({"/no/such/program"});
  Serve();
  absl::Status status = Create().status();
  if (status.ok()) status = Start().status();
  EXPECT_TRUE(absl::IsUnknown(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such/program"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("OCI runtime"));
  Delete().IgnoreError();
  EXPECT_TRUE(CgroupGone());
  EXPECT_TRUE(StateGone());
}

TEST_P(ProgramTest, ACreatedContainerIsDeleted) {
  MakeBundle({"touch", "/ran"});
  Serve();
  ASSERT_TRUE(Create().ok());
  EXPECT_EQ(*Delete(), 137);
  EXPECT_TRUE(CgroupGone());
  EXPECT_TRUE(StateGone());
  EXPECT_NE(access((root_ + "/ran").c_str(), F_OK), 0);
}

TEST_P(ProgramTest, AKilledShimIsCleanedUpAfter) {
  MakeBundle({"sleep", "1000"});
  Serve();
  const auto pid = Create();
  ASSERT_TRUE(pid.ok()) << pid.status();
  ASSERT_TRUE(Start().ok());
  ASSERT_EQ(kill(shim_pid_, SIGKILL), 0);
  RunUntil([this] { return ShimGone(); }, "the shim to end");
  const auto output = RunShim({"-bundle", bundle_, "delete"}, "", "2");
  ASSERT_TRUE(output.ok()) << output.status();
  v3::DeleteResponse response;
  ASSERT_TRUE(response.ParseFromString(*output));
  EXPECT_EQ(response.exit_status(), 137u);
  EXPECT_EQ(response.pid(), static_cast<uint32_t>(*pid));
  EXPECT_TRUE(CgroupGone());
  EXPECT_TRUE(StateGone());
}

TEST_P(ProgramTest, AProgramThatIsNotInstalledIsNamed) {
  UseProgram("no-such-runtime");
  MakeBundle({"true"});
  Serve();
  const absl::Status status = Create().status();
  EXPECT_TRUE(absl::IsUnknown(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("no-such-runtime"));
}

INSTANTIATE_TEST_SUITE_P(Runtimes, ProgramTest, ::testing::Values("/usr/sbin/runc", "/usr/bin/crun"),
                         [](const ::testing::TestParamInfo<const char*>& info) {
                           return std::string(info.param).substr(std::string(info.param).rfind('/') + 1);
                         });

}  // namespace
}  // namespace gantry::shim
