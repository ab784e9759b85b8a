// A shim is killed, and another one goes on with its container.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
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

TEST_F(SuccessorTest, AContainerThatWasNotStartedEnds) {
  MakeBundle({"touch", "/ran"});
  Serve();
  const auto pid = Create();
  ASSERT_TRUE(pid.ok()) << pid.status();
  init_ = *sys::PidFd::Open(*pid);
  KillShim();
  ServeSuccessor(init_.fd());
  EXPECT_TRUE(Wait().ok());
  EXPECT_TRUE(Delete().ok());
  EXPECT_TRUE(CgroupGone());
  EXPECT_NE(access((root_ + "/ran").c_str(), F_OK), 0);
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
