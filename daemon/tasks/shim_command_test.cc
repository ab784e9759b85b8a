#include "daemon/tasks/shim_command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

namespace gantry::tasks {
namespace {

using testing::HasSubstr;

absl::StatusOr<std::string> RunScript(const std::string& script, const std::string& input,
                                      absl::Duration timeout = absl::Seconds(20)) {
  auto loop = *sys::EventLoop::Create();
  std::optional<absl::StatusOr<std::string>> result;
  sys::SpawnOptions options;
  options.path = "/bin/sh";
  options.argv = {"sh", "-c", script};
  RunShimCommand(loop.get(), options, input, timeout, [&](absl::StatusOr<std::string> r) {
    result = std::move(r);
    loop->Stop();
  });
  EXPECT_FALSE(result.has_value()) << "called from inside";
  EXPECT_TRUE(loop->Run().ok());
  EXPECT_EQ(loop->watched(), 0u);
  EXPECT_EQ(loop->timers(), 0u);
  return *result;
}

TEST(ShimCommandTest, GivesInputAndTakesOutput) {
  EXPECT_EQ(*RunScript("read -r x; echo got $x; echo noise >&2", "some\n"), "got some\n");
}

TEST(ShimCommandTest, FailureTellsStatusAndWhatWasSaid) {
  const auto result = RunScript("echo no such thing >&2; exit 3", "");
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("status 3: no such thing"));
}

TEST(ShimCommandTest, ChildThatHoldsTheOutputIsNotWaitedFor) {
  EXPECT_EQ(*RunScript("sleep 3 & echo done", ""), "done\n");
}

TEST(ShimCommandTest, OneThatDoesNotEndIsKilled) {
  const auto result = RunScript("exec sleep 100", "", absl::Milliseconds(50));
  EXPECT_EQ(result.status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST(ShimCommandTest, MissingProgramIsAnError) {
  auto loop = *sys::EventLoop::Create();
  std::optional<absl::StatusOr<std::string>> result;
  sys::SpawnOptions options;
  options.path = "/no/such/shim";
  RunShimCommand(loop.get(), options, "", absl::Seconds(1), [&](absl::StatusOr<std::string> r) {
    result = std::move(r);
    loop->Stop();
  });
  EXPECT_TRUE(loop->Run().ok());
  EXPECT_THAT(std::string(result->status().message()), HasSubstr("/no/such/shim"));
}

}  // namespace
}  // namespace gantry::tasks
