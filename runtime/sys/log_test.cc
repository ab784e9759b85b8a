#include "runtime/sys/log.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace gantry::log {
namespace {

TEST(Render, LogfmtQuotesOnlyWhereItMust) {
  EXPECT_EQ(
      Render(Format::kLogfmt, "T", Level::kInfo, "a \"b\"\n", {{"id", "c1"}, {"why", "no such"}, {"e", ""}}),
      "time=\"T\" level=info msg=\"a \\\"b\\\"\\n\" id=c1 why=\"no such\" e=\"\"");
}

TEST(Render, JsonEscapesControlCharacters) {
  EXPECT_EQ(Render(Format::kJson, "T", Level::kError, std::string("x\x01", 2), {{"k", "v\\"}}),
            "{\"time\":\"T\",\"level\":\"error\",\"msg\":\"x\\u0001\",\"k\":\"v\\\\\"}");
}

TEST(Write, DropsWhatIsBelowTheLevel) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  Configure(Level::kWarn, Format::kLogfmt, ends[1]);
  Info("not this");
  Warn("but this");
  Configure(Level::kInfo, Format::kLogfmt, 2);
  close(ends[1]);
  char buffer[512] = {};
  ASSERT_GT(read(ends[0], buffer, sizeof buffer - 1), 0);
  close(ends[0]);
  EXPECT_EQ(std::string(buffer).find("not this"), std::string::npos);
  EXPECT_NE(std::string(buffer).find("level=warning msg=\"but this\""), std::string::npos);
}

TEST(ParseLevel, KnowsContainerdsNames) {
  Level level = Level::kInfo;
  EXPECT_TRUE(ParseLevel("trace", &level));
  EXPECT_EQ(level, Level::kDebug);
  EXPECT_FALSE(ParseLevel("loud", &level));
  EXPECT_EQ(level, Level::kDebug);
}

}  // namespace
}  // namespace gantry::log
