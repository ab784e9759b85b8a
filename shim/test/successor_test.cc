// A shim is killed, and another one goes on with its container.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "api/proto/containerd/events/task.pb.h"
#include "gmock/gmock.h"
#include "runtime/sys/exit_info.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"
#include "shim/test/harness.h"

namespace gantry::shim {
namespace {

using ::testing::ElementsAre;

constexpr char kCount[] = "trap 'exit 7' TERM; i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done";

class SuccessorTest : public ShimTest {
 protected:
  void SetUp() override {
    ShimTest::SetUp();
    if (!IsSkipped() && !sys::KernelKeepsExitInfo()) GTEST_SKIP() << "needs Linux 6.15: PIDFD_INFO_EXIT";
    out_ = directory_ + "/out";
  }
  void RunCounter() {
    MakeBundle({"sh", "-c", kCount});
    Serve();
    const auto pid = Create({"", "file://" + out_, "", false});
    ASSERT_TRUE(pid.ok()) << pid.status();
    pid_ = *pid;
    init_ = *sys::PidFd::Open(pid_);
    ASSERT_TRUE(Start().ok());
    RunUntil([this] { return Last() > 3; }, "it to count");
  }
  void KillShim() {
    ASSERT_EQ(kill(shim_pid_, SIGKILL), 0);
    RunUntil([this] { return ShimGone(); }, "the shim to end");
    client_.reset();
  }
  // The last number in the log; the numbers before it must be there, each once.
  int Last() const {
    const std::string text = sys::ReadFileAt(AT_FDCWD, out_, 1 << 20).value_or("");
    int expected = 0;
    for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      int number = 0;
      EXPECT_TRUE(absl::SimpleAtoi(line, &number) && number == ++expected) << line;
    }
    return expected;
  }
  std::vector<containerd::events::TaskExit> ExitsOf(const std::string& exec_id) const {
    std::vector<containerd::events::TaskExit> exits;
    for (const SeenEvent& event : events_) {
      containerd::events::TaskExit exit;
      if (event.topic == "/tasks/exit" && exit.ParseFromString(event.value) && exit.id() == exec_id)
        exits.push_back(exit);
    }
    return exits;
  }
  std::string out_;
  pid_t pid_ = 0;
  sys::PidFd init_;
};

TEST_F(SuccessorTest, TheContainerGoesOnAndItsRealExitIsTold) {
  RunCounter();
  KillShim();
  EXPECT_FALSE(init_.Exited()) << "it must not die of its shim";
  const int before = Last();
  ServeSuccessor(init_.fd());
  const auto state = State();
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->status(), containerd::v1::types::RUNNING);
  EXPECT_EQ(state->pid(), static_cast<uint32_t>(pid_));
  EXPECT_EQ(state->stdout(), "file://" + out_);
  RunUntil([&] { return Last() > before + 3; }, "it to count on");
  ASSERT_TRUE(Exec("e", {"sh", "-c", "exit 3"}).ok());
  ASSERT_TRUE(Start("e").ok());
  EXPECT_EQ(*Wait("e"), 3);
  EXPECT_TRUE(Delete("e").ok());
  ASSERT_TRUE(Simple("Pause").ok());
  EXPECT_EQ(State()->status(), containerd::v1::types::PAUSED);

  KillShim();  // a successor is a shim like any other
  ServeSuccessor(init_.fd());
  EXPECT_EQ(State()->status(), containerd::v1::types::PAUSED);
  ASSERT_TRUE(Simple("Resume").ok());
  ASSERT_TRUE(Kill(SIGTERM).ok());
  EXPECT_EQ(*Wait(), 7);
  EXPECT_EQ(*Delete(), 7);
  EXPECT_TRUE(CgroupGone());
  EXPECT_TRUE(Shutdown().ok());
  RunUntil([this] { return ShimGone(); }, "the shim to end");
  EXPECT_EQ(Topics().back(), "/tasks/delete");
}

TEST_F(SuccessorTest, AnExitWhileThereWasNoShimIsTold) {
  RunCounter();
  KillShim();
  ASSERT_TRUE(init_.Signal(SIGTERM).ok());
  ASSERT_TRUE(init_.WaitExited(absl::Seconds(10)));
  ServeSuccessor(init_.fd());
  EXPECT_EQ(*Wait(), 7);
  EXPECT_EQ(*Delete(), 7);
  EXPECT_TRUE(CgroupGone());
}

TEST_F(SuccessorTest, ItsExecsGoOnAndTheirExitsAreTold) {
  RunCounter();
  ASSERT_TRUE(Exec("runs", {"sh", "-c", "while [ ! -e /end ]; do sleep 0.01; done; exit 5"}).ok());
  const auto pid = Start("runs");
  ASSERT_TRUE(pid.ok()) << pid.status();
  ASSERT_TRUE(Exec("ended", {"sh", "-c", "exit 6"}).ok());
  ASSERT_TRUE(Start("ended").ok());
  EXPECT_EQ(*Wait("ended"), 6);
  RunUntil([this] { return ExitsOf("ended").size() == 1; }, "the exit to be told");
  RunFor(absl::Milliseconds(50));  // and the shim to hear that it was
  KillShim();
  ServeSuccessor(init_.fd());
  auto state = State("runs");
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->status(), containerd::v1::types::RUNNING);
  EXPECT_EQ(state->pid(), static_cast<uint32_t>(*pid));
  EXPECT_EQ(*Wait("ended"), 6);
  EXPECT_EQ(*Delete("ended"), 6);
  ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, root_ + "/end", "", 0644, sys::Durability::kVolatile).ok());
  EXPECT_EQ(*Wait("runs"), 5);
  RunUntil([this] { return ExitsOf("runs").size() == 1; }, "its exit to be told");
  EXPECT_EQ(*Delete("runs"), 5);
  EXPECT_EQ(ExitsOf("ended").size(), 1u) << "it is not told again";
  EXPECT_EQ(sys::ReadFileAt(AT_FDCWD, bundle_ + "/gantry-execs", 4096).value_or("none"), "");
}

TEST_F(SuccessorTest, AnExecThatEndedWithoutAShimIsToldAsUnknown) {
  RunCounter();
  ASSERT_TRUE(Exec("e", {"sh", "-c", "while [ ! -e /end ]; do sleep 0.01; done; exit 5"}).ok());
  const auto pid = Start("e");
  ASSERT_TRUE(pid.ok()) << pid.status();
  const sys::PidFd process = *sys::PidFd::Open(*pid);
  KillShim();
  ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, root_ + "/end", "", 0644, sys::Durability::kVolatile).ok());
  RunUntil([&] { return process.Signal(0).code() == absl::StatusCode::kNotFound; }, "it to be reaped");
  ServeSuccessor(init_.fd());
  EXPECT_EQ(*Wait("e"), 255);
  RunUntil([this] { return ExitsOf("e").size() == 1; }, "its exit to be told");
  EXPECT_EQ(ExitsOf("e")[0].exit_status(), 255u);
}

TEST_F(SuccessorTest, AnExitThatWasNotToldIsToldByTheSuccessor) {
  RunCounter();
  StopSink();
  ASSERT_TRUE(Exec("e", {"sh", "-c", "exit 6"}).ok());
  ASSERT_TRUE(Start("e").ok());
  EXPECT_EQ(*Wait("e"), 6);
  KillShim();
  StartSink();
  ServeSuccessor(init_.fd());
  RunUntil([this] { return ExitsOf("e").size() == 1; }, "its exit to be told");
  EXPECT_EQ(ExitsOf("e")[0].exit_status(), 6u);
}

TEST_F(SuccessorTest, AContainerThatWasNotStartedEnds) {
  MakeBundle({"touch", "/ran"});
  Serve();
  const auto pid = Create();
  ASSERT_TRUE(pid.ok()) << pid.status();
  init_ = *sys::PidFd::Open(*pid);
  KillShim();
  ServeSuccessor(init_.fd());
  const auto state = State();
  ASSERT_TRUE(state.ok()) << state.status();
  EXPECT_EQ(state->status(), containerd::v1::types::STOPPED) << "nobody may take it for one that runs";
  EXPECT_TRUE(Wait().ok());
  EXPECT_TRUE(Delete().ok());
  EXPECT_TRUE(CgroupGone());
  EXPECT_NE(access((root_ + "/ran").c_str(), F_OK), 0);
}

// The builder outlives its shim: whoever cleans up must not miss what it makes later.
TEST_F(SuccessorTest, DeleteWaitsForTheBuilderOfAKilledShim) {
  const std::string begun = directory_ + "/begun";
  MakeBundle({"sleep", "1000"}, [&](oci::Spec* spec) {
    oci::Hook hook;
    hook.path = "/bin/sh";
    hook.args = {"sh", "-c", "touch " + begun + "; sleep 0.7"};
    spec->hooks.create_runtime.push_back(hook);
  });
  Serve();
  containerd::task::v3::CreateTaskRequest request;
  request.set_id(id_);
  request.set_bundle(bundle_);
  auto* mount = request.add_rootfs();
  mount->set_type("bind");
  mount->set_source(root_);
  mount->add_options("rbind");
  client_->Call("containerd.task.v3.Task", "Create", request.SerializeAsString(), absl::InfiniteDuration(),
                [](const absl::StatusOr<std::string>&) {});
  RunUntil([&] { return access(begun.c_str(), F_OK) == 0; }, "the hook to run");
  EXPECT_FALSE(CgroupGone());
  KillShim();
  const auto deleted = RunShim({"-bundle", bundle_, "delete"}, "", "2");
  ASSERT_TRUE(deleted.ok()) << deleted.status();
  containerd::task::v3::DeleteResponse response;
  EXPECT_TRUE(response.ParseFromString(*deleted) && response.pid() == 0) << "nobody was told of it";
  EXPECT_TRUE(CgroupGone());
  RunFor(absl::Seconds(1));
  EXPECT_TRUE(CgroupGone()) << "it must not come back";
  EXPECT_NE(access((bundle_ + "/gantry-state").c_str(), F_OK), 0);
}

TEST_F(SuccessorTest, StreamsThatWentWithTheShimAreNoneToGoOnWith) {
  MakeBundle({"sleep", "1000"});
  const std::string out = MakeFifo("fifo");
  const sys::UniqueFd reader(open(out.c_str(), O_RDWR | O_CLOEXEC));
  Serve();
  ASSERT_TRUE(Create({"", out, "", false}).ok());
  ASSERT_TRUE(Start().ok());
  const auto state = sys::ReadFileAt(AT_FDCWD, bundle_ + "/gantry-state", 1 << 16);
  ASSERT_TRUE(state.ok());
  EXPECT_EQ(state->find("\nadopt "), std::string::npos);
}

}  // namespace
}  // namespace gantry::shim
