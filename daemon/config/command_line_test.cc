#include "daemon/config/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace gantry::config {
namespace {

using testing::HasSubstr;

absl::StatusOr<CommandLine> ParseArgs(std::vector<const char*> argv) {
  return ParseCommandLine(static_cast<int>(argv.size()), argv.data());
}

TEST(CommandLineTest, ReadsContainerdsFlags) {
  const auto line = ParseArgs({"/usr/bin/containerd", "--config", "F", "--root", "/r", "--state", "/s",
                               "--address", "/c.sock", "--log-level", "debug"});
  ASSERT_TRUE(line.ok()) << line.status();
  EXPECT_EQ(line->program, "containerd");
  EXPECT_EQ(line->action, Action::kServe);
  EXPECT_EQ(line->config_path, "F");
  Config config = Defaults(line->program);
  ASSERT_TRUE(ApplyFlags(*line, &config).ok());
  EXPECT_EQ(config.root, "/r");
  EXPECT_EQ(config.state, "/s");
  EXPECT_EQ(config.grpc.socket.address, "/c.sock");
  EXPECT_EQ(config.debug.level, "debug");
}

TEST(CommandLineTest, ReadsSubcommandsWithFlagsBeforeOrAfter) {
  EXPECT_EQ(ParseArgs({"gantryd", "config", "default"})->action, Action::kConfigDefault);
  EXPECT_EQ(ParseArgs({"gantryd", "-c", "x", "config", "dump"})->action, Action::kConfigDump);
  const auto publish =
      ParseArgs({"gantryd", "--address", "/a", "publish", "--topic", "/t", "--namespace", "n"});
  ASSERT_TRUE(publish.ok()) << publish.status();
  EXPECT_EQ(publish->action, Action::kPublish);
  EXPECT_EQ(publish->address, "/a");
  EXPECT_EQ(publish->topic, "/t");
  EXPECT_EQ(publish->ns, "n");
  EXPECT_EQ(ParseArgs({"gantryd", "--version"})->action, Action::kVersion);
  EXPECT_EQ(ParseArgs({"gantryd", "--help"})->action, Action::kHelp);
}

TEST(CommandLineTest, BadArgumentsAreNamed) {
  EXPECT_THAT(std::string(ParseArgs({"gantryd", "--bogus"}).status().message()), HasSubstr("--bogus"));
  EXPECT_FALSE(ParseArgs({"gantryd", "publish"}).ok());
  EXPECT_FALSE(ParseArgs({"gantryd", "config"}).ok());
}

TEST(CommandLineTest, WholeConfigurationIsChecked) {
  CommandLine line;
  Config config = Defaults("gantryd");
  line.log_level = "loud";
  EXPECT_THAT(std::string(ApplyFlags(line, &config).message()), HasSubstr("unknown log level \"loud\""));
  config = Defaults("gantryd");
  line = {};
  line.root = "relative";
  EXPECT_THAT(std::string(ApplyFlags(line, &config).message()), HasSubstr("absolute"));
  config = Defaults("gantryd");
  line = {};
  line.address = "/" + std::string(120, 'x');
  EXPECT_THAT(std::string(ApplyFlags(line, &config).message()), HasSubstr("at most 107"));
  config = Defaults("gantryd");
  line = {};
  line.root = line.state = "/same";
  EXPECT_THAT(std::string(ApplyFlags(line, &config).message()), HasSubstr("different"));
}

}  // namespace
}  // namespace gantry::config
