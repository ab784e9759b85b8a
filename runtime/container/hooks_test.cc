#include <gtest/gtest.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "runtime/container/container.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/file.h"

namespace gantry::container {
namespace {

class HooksTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_NE(mkdtemp(directory_), nullptr); }
  void TearDown() override { EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, directory_).ok()); }

  std::string Path(const char* name) const { return absl::StrCat(directory_, "/", name); }
  std::string Content(const char* name) const {
    return sys::ReadFileAt(AT_FDCWD, Path(name), 1 << 24).value_or("(no file)");
  }
  oci::Hook Shell(const std::string& script) const {
    oci::Hook hook;
    hook.path = "/bin/sh";
    hook.args = {"sh", "-c", script};
    hook.env = {absl::StrCat("D=", directory_)};
    return hook;
  }

  oci::State state_;
  char directory_[32] = "/tmp/hooks_test.XXXXXX";
};

TEST_F(HooksTest, RunInOrderWithTheStateOnStandardInput) {
  state_.id = "c1";
  ASSERT_TRUE(
      RunHooks({Shell("cat >$D/state; echo 1 >>$D/order"), Shell("echo 2 >>$D/order")}, "poststop", state_)
          .ok());
  EXPECT_EQ(Content("order"), "1\n2\n");
  EXPECT_EQ(Content("state"), oci::ToJson(state_));
}

TEST_F(HooksTest, GetTheirOwnEnvironmentOnly) {
  setenv("SECRET_OF_CALLER", "x", 1);
  ASSERT_TRUE(RunHooks({Shell("tr '\\0' '\\n' </proc/$$/environ >$D/env")}, "poststop", state_).ok());
  EXPECT_EQ(Content("env"), absl::StrCat("D=", directory_, "\n"));
}

TEST_F(HooksTest, TheFirstFailureEndsItAndIsNamed) {
  const absl::Status status = RunHooks(
      {Shell("true"), Shell("echo no luck >&2; exit 3"), Shell("touch $D/late")}, "prestart", state_);
  EXPECT_EQ(status.message(), "hook prestart[1] /bin/sh: exit status 3: no luck");
  EXPECT_NE(access(Path("late").c_str(), F_OK), 0);
  EXPECT_EQ(RunHooks({Shell("kill -9 $$")}, "prestart", state_).message(),
            "hook prestart[0] /bin/sh: killed by signal 9");
}

TEST_F(HooksTest, ATimeoutKills) {
  oci::Hook hook = Shell("exec sleep 100");
  hook.timeout = 1;
  const int64_t start = sys::MonotonicNanos();
  EXPECT_EQ(RunHooks({hook}, "prestart", state_).code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_LT(sys::MonotonicNanos() - start, int64_t{20'000'000'000});
}

TEST_F(HooksTest, NeedNotReadAndMayLeaveABackgroundProcess) {
  state_.annotations["big"] = std::string(1 << 20, 'x');
  // The process in the background holds the hook's output for a while: nobody waits for that.
  const int64_t start = sys::MonotonicNanos();
  EXPECT_TRUE(RunHooks({Shell("sleep 5 & exit 0")}, "poststart", state_).ok());
  EXPECT_LT(sys::MonotonicNanos() - start, int64_t{4'000'000'000});
}

TEST_F(HooksTest, MustBeThereAndAbsolute) {
  oci::Hook hook;
  hook.path = "bin/sh";
  EXPECT_EQ(RunHooks({hook}, "prestart", state_).code(), absl::StatusCode::kInvalidArgument);
  hook.path = Path("nothing");
  EXPECT_EQ(RunHooks({hook}, "prestart", state_).code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace gantry::container
