#include "cmd/gantry-oci/args.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

namespace gantry::oci_cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr Option kOptions[] = {{"bundle", 'b', "DIR", "the bundle"},
                               {"detach", 'd', nullptr, "return at once"},
                               {"env", 'e', "NAME=VALUE", "a variable"},
                               {nullptr, 0, nullptr, nullptr}};

absl::StatusOr<Arguments> Parse(std::vector<const char*> args, Order order = Order::kAnywhere) {
  return Arguments::Parse(args.data(), args.data() + args.size(), kOptions, order);
}

TEST(ArgumentsTest, EveryFormOfAnOptionIsRead) {
  for (const std::vector<const char*>& args :
       std::vector<std::vector<const char*>>{{"--bundle", "/x", "id"},
                                             {"--bundle=/x", "id"},
                                             {"-b", "/x", "id"},
                                             {"-b=/x", "id"},
                                             {"-bundle", "/x", "id"},
                                             {"id", "--bundle", "/x"}}) {
    auto parsed = Parse(args);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(parsed->Get("bundle"), "/x");
    EXPECT_THAT(parsed->positional(), ElementsAre("id"));
  }
}

TEST(ArgumentsTest, FlagsTakeTrueAndFalseOnly) {
  EXPECT_TRUE(Parse({"-d"})->Has("detach"));
  EXPECT_TRUE(Parse({"--detach=true"})->Has("detach"));
  EXPECT_FALSE(Parse({"--detach=false"})->Has("detach"));
  EXPECT_FALSE(Parse({"--detach=maybe"}).ok());
}

TEST(ArgumentsTest, TheLastValueCountsAndAllAreKept) {
  auto parsed = Parse({"-e", "A=1", "--env=B=2", "-b", "/x", "-b", ""});
  ASSERT_TRUE(parsed.ok());
  EXPECT_THAT(parsed->All("env"), ElementsAre("A=1", "B=2"));
  EXPECT_EQ(parsed->Find("bundle"), "");
}

TEST(ArgumentsTest, AProgramsOwnOptionsAreNotOurs) {
  auto parsed = Parse({"-d", "id", "ls", "-d", "--help"}, Order::kOptionsFirst);
  ASSERT_TRUE(parsed.ok());
  EXPECT_THAT(parsed->positional(), ElementsAre("id", "ls", "-d", "--help"));
  EXPECT_THAT(Parse({"--", "-d"})->positional(), ElementsAre("-d"));
}

TEST(ArgumentsTest, ErrorsNameTheOption) {
  EXPECT_THAT(Parse({"--no-such"}).status().message(), HasSubstr("--no-such"));
  EXPECT_THAT(Parse({"--bundle"}).status().message(), HasSubstr("needs a value: DIR"));
  EXPECT_THAT(Parse({"-5"}).status().message(), HasSubstr("-5"));
  EXPECT_THAT(Parse({"-b", "x"})->Number("bundle").status().message(), HasSubstr("whole number"));
  EXPECT_EQ(*Parse({"-b", "12"})->Number("bundle"), 12);
}

TEST(ParseTest, Signals) {
  EXPECT_EQ(*ParseSignal("KILL"), SIGKILL);
  EXPECT_EQ(*ParseSignal("SIGTERM"), SIGTERM);
  EXPECT_EQ(*ParseSignal("sigusr1"), SIGUSR1);
  EXPECT_EQ(*ParseSignal("9"), 9);
  EXPECT_EQ(*ParseSignal("0"), 0);
  EXPECT_EQ(*ParseSignal("RTMIN+3"), SIGRTMIN + 3);
  EXPECT_EQ(*ParseSignal("SIGRTMAX"), SIGRTMAX);
  for (const char* bad : {"", "NOSUCH", "SIGNOSUCH", "-5", "4096", "9x", "RTMIN+99", "SIG"}) {
    EXPECT_FALSE(ParseSignal(bad).ok()) << bad;
  }
}

TEST(ParseTest, Users) {
  EXPECT_EQ(ParseUser("1234:5678")->first, 1234u);
  EXPECT_EQ(ParseUser("1234:5678")->second, 5678u);
  EXPECT_FALSE(ParseUser("1234")->second.has_value());
  for (const char* bad : {"", "-1", "1:-1", "root", "1:2:3", "1:x", "1:", ":1", "4294967295", "4294967296",
                          "18446744073709551616", " 1", "+1"}) {
    EXPECT_FALSE(ParseUser(bad).ok()) << bad;
  }
}

TEST(ParseTest, BytesAndDurations) {
  EXPECT_EQ(*ParseBytes("100663296"), 100663296);
  EXPECT_EQ(*ParseBytes("64m"), 64 << 20);
  EXPECT_EQ(*ParseBytes("1.5KiB"), 1536);
  EXPECT_EQ(*ParseBytes("-1"), -1);
  EXPECT_EQ(*ParseBytes("9007199254740993"), 9007199254740993);
  for (const char* bad : {"lots", "", "-2", "1x", "1kk", "9999999999999999999"})
    EXPECT_FALSE(ParseBytes(bad).ok()) << bad;
  EXPECT_EQ(*ParseMilliseconds("1s"), 1000);
  EXPECT_EQ(*ParseMilliseconds("1m30s"), 90000);
  EXPECT_EQ(*ParseMilliseconds("2"), 2000);
  for (const char* bad : {"0", "-1s", "soon", ""}) EXPECT_FALSE(ParseMilliseconds(bad).ok()) << bad;
}

}  // namespace
}  // namespace gantry::oci_cli
