#include "daemon/tasks/health_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::tasks {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr absl::Duration kLate = absl::Hours(1);

HealthResult Result(int code) { return {absl::UnixEpoch(), absl::UnixEpoch(), code, "o"}; }

TEST(HealthConfigTest, DockersMembersAndDefaults) {
  const auto config = ParseHealthConfig(R"({"Test":["CMD","a","b c"],"Interval":1000000000,
      "Timeout":2000000000,"StartPeriod":3000000000,"StartInterval":4000000000,"Retries":7})");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->command, ElementsAre("a", "b c"));
  EXPECT_EQ(config->interval, absl::Seconds(1));
  EXPECT_EQ(config->timeout, absl::Seconds(2));
  EXPECT_EQ(config->start_period, absl::Seconds(3));
  EXPECT_EQ(config->start_interval, absl::Seconds(4));
  EXPECT_EQ(config->retries, 7);
  const auto defaults = ParseHealthConfig(R"({"Test":["CMD-SHELL","x && y"],"Interval":0,"Retries":0})");
  ASSERT_TRUE(defaults.ok());
  EXPECT_THAT(defaults->command, ElementsAre("/bin/sh", "-c", "x && y"));
  EXPECT_EQ(defaults->interval, absl::Seconds(30));
  EXPECT_EQ(defaults->timeout, absl::Seconds(30));
  EXPECT_EQ(defaults->retries, 3);
  for (const char* none : {"{}", R"({"Test":[]})", R"({"Test":["NONE"]})", R"({"Test":null})"}) {
    EXPECT_TRUE(ParseHealthConfig(none)->command.empty()) << none;
  }
}

TEST(HealthConfigTest, AMistakeIsNamed) {
  const auto message = [](const char* json) {
    return std::string(ParseHealthConfig(json).status().message());
  };
  EXPECT_THAT(message("x"), HasSubstr("JSON object"));
  EXPECT_THAT(message(R"({"Test":"x"})"), HasSubstr("Test must be"));
  EXPECT_THAT(message(R"({"Test":["RUN","x"]})"), HasSubstr("CMD-SHELL"));
  EXPECT_THAT(message(R"({"Test":["CMD-SHELL","a","b"]})"), HasSubstr("CMD-SHELL"));
  EXPECT_THAT(message(R"({"Interval":5})"), HasSubstr("Interval must be at least"));
  EXPECT_THAT(message(R"({"Timeout":"5s"})"), HasSubstr("Timeout must be"));
  EXPECT_THAT(message(R"({"Retries":-1})"), HasSubstr("Retries must be"));
}

TEST(HealthProcessTest, IsTheContainersOwnWithAnotherCommand) {
  const auto process = HealthProcess(
      R"({"process":{"terminal":true,"args":["serve"],"cwd":"/srv","user":{"uid":5}},"root":{}})",
      {"a", "b"});
  ASSERT_TRUE(process.ok()) << process.status();
  EXPECT_EQ(*process, R"({"cwd":"/srv","user":{"uid":5},"args":["a","b"]})");
  EXPECT_FALSE(HealthProcess("{}", {"a"}).ok());
}

TEST(HealthStateTest, FailuresInARowMakeUnhealthyAndOneSuccessHeals) {
  HealthConfig config;
  config.retries = 2;
  HealthState state(config);
  EXPECT_EQ(state.name(), "starting");
  EXPECT_TRUE(state.Record(Result(1), kLate));
  EXPECT_EQ(state.name(), "starting");
  EXPECT_TRUE(state.Record(Result(0), kLate));
  EXPECT_EQ(state.name(), "healthy");
  EXPECT_FALSE(state.Record(Result(0), kLate)) << "nothing new";
  state.Record(Result(1), kLate);
  EXPECT_EQ(state.name(), "healthy");
  state.Record(Result(-1), kLate);
  EXPECT_EQ(state.name(), "unhealthy");
  EXPECT_EQ(state.failing_streak(), 2);
  EXPECT_FALSE(state.Record(Result(1), kLate)) << "it stays unhealthy";
  EXPECT_EQ(state.failing_streak(), 3);
  EXPECT_EQ(state.log().size(), 5u);
  EXPECT_TRUE(state.Record(Result(0), kLate));
  EXPECT_EQ(state.name(), "healthy");
  EXPECT_EQ(state.failing_streak(), 0);
  EXPECT_THAT(state.ToJson(), HasSubstr(R"({"Status":"healthy","FailingStreak":0,"Log":[{"Start":"1970)"));
}

TEST(HealthStateTest, FailuresInTheStartPeriodDoNotCountUntilASuccess) {
  HealthConfig config;
  config.retries = 1;
  config.start_period = absl::Seconds(10);
  HealthState state(config);
  EXPECT_EQ(state.Pause(absl::ZeroDuration()), config.start_interval);
  EXPECT_FALSE(state.Record(Result(1), absl::Seconds(5)));
  EXPECT_EQ(state.name(), "starting");
  EXPECT_TRUE(state.Record(Result(0), absl::Seconds(6)));
  EXPECT_EQ(state.Pause(absl::Seconds(6)), config.interval) << "it has started";
  EXPECT_TRUE(state.Record(Result(1), absl::Seconds(7)));
  EXPECT_EQ(state.name(), "unhealthy");
  HealthState late(config);
  EXPECT_EQ(late.Pause(absl::Seconds(11)), config.interval);
  EXPECT_TRUE(late.Record(Result(1), absl::Seconds(11)));
  EXPECT_EQ(late.name(), "unhealthy");
}

}  // namespace
}  // namespace gantry::tasks
