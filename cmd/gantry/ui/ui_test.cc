#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "cmd/gantry/ui/failure.h"
#include "cmd/gantry/ui/json.h"
#include "cmd/gantry/ui/table.h"
#include "cmd/gantry/ui/text.h"

namespace gantry::cli {
namespace {

using ::testing::HasSubstr;

TEST(FailureTest, RendersThreeLinesAndAnExitCode) {
  const absl::Status status =
      Failure({.what = "cannot run image x", .why = "there is none", .next = "import it"});
  const FailureText text = Describe(status);
  EXPECT_EQ(text.exit_code, 125);
  EXPECT_EQ(Render(text), "gantry: cannot run image x\n  why:  there is none\n  next: import it\n");
}

TEST(FailureTest, InnermostFailureIsKept) {
  const absl::Status inner = Failure({.what = "a", .why = "b", .next = "c", .exit_code = 127});
  const FailureText text = Describe(Explain("outer", inner));
  EXPECT_EQ(text.what, "a");
  EXPECT_EQ(text.exit_code, 127);
}

TEST(FailureTest, EveryErrorHasANextStep) {
  for (int code = 1; code <= 16; ++code) {
    const FailureText text = Describe(Explain("x", absl::Status(static_cast<absl::StatusCode>(code), "why")));
    EXPECT_FALSE(text.next.empty()) << code;
  }
  EXPECT_TRUE(Explain("x", absl::OkStatus()).ok());
}

TEST(FailureTest, LineBreaksInsideATextDontAddLines) {
  EXPECT_EQ(Render({.what = "a\nb", .why = "\x1b[2J", .next = "c"}),
            "gantry: a b\n  why:  ?[2J\n  next: c\n");
}

TEST(TextTest, OneLineReplacesWhatATerminalWouldObey) {
  EXPECT_EQ(OneLine("a\tb\nc"), "a b c");
  EXPECT_EQ(OneLine("\x1b]0;x\x07"), "?]0;x?");
  EXPECT_EQ(OneLine("\xC2\x9B"
                    "2J"),
            "?2J");
  EXPECT_EQ(OneLine("\xff\xfe"), "??");
  EXPECT_EQ(OneLine("gr\xC3\xBC\xC3\x9F"), "gr\xC3\xBC\xC3\x9F");
  EXPECT_EQ(OneLine("\xE2\x82"), "??");
}

TEST(TextTest, TruncateCountsCodePoints) {
  EXPECT_EQ(Truncate("abcdef", 6), "abcdef");
  EXPECT_EQ(Truncate("abcdef", 4), "abc…");
  EXPECT_EQ(Truncate("äöüß", 3), "äö…");
  EXPECT_EQ(Truncate("abc", 0), "");
}

TEST(TextTest, SizesAndAges) {
  EXPECT_EQ(HumanSize(0), "0 B");
  EXPECT_EQ(HumanSize(999), "999 B");
  EXPECT_EQ(HumanSize(4200000), "4.2 MB");
  EXPECT_EQ(HumanSize(999960), "1.0 MB");
  EXPECT_EQ(HumanAge(absl::Seconds(1)), "1 second");
  EXPECT_EQ(HumanAge(absl::Seconds(119)), "1 minute");
  EXPECT_EQ(HumanAge(absl::Hours(50)), "2 days");
  EXPECT_EQ(HumanAge(-absl::Seconds(5)), "0 seconds");
}

TEST(TextTest, ParseSize) {
  EXPECT_EQ(*ParseSize("512"), 512);
  EXPECT_EQ(*ParseSize("64m"), 64 << 20);
  EXPECT_EQ(*ParseSize("1.5K"), 1536);
  EXPECT_EQ(*ParseSize("2GiB"), 2LL << 30);
  for (const char* bad : {"", "m", "1x", "-1", "1mm", "1..2", "inf", "9999999999t", "0x10"}) {
    EXPECT_FALSE(ParseSize(bad).ok()) << bad;
  }
}

TEST(TextTest, ParseCpus) {
  EXPECT_EQ(*ParseCpus("1.5"), 150000);
  for (const char* bad : {"", "0", "-1", "two", "nan"}) EXPECT_FALSE(ParseCpus(bad).ok()) << bad;
}

TEST(TextTest, ParseSignal) {
  EXPECT_EQ(*ParseSignal("TERM"), SIGTERM);
  EXPECT_EQ(*ParseSignal("sigkill"), SIGKILL);
  EXPECT_EQ(*ParseSignal("9"), 9);
  EXPECT_EQ(*ParseSignal("SIGRTMIN+3"), SIGRTMIN + 3);
  for (const char* bad : {"", "0", "65", "NOPE", "RTMIN+99"}) {
    EXPECT_THAT(ParseSignal(bad).status().message(), HasSubstr("is no signal")) << bad;
  }
}

TEST(TableTest, FitsTheWidthByShrinkingWhatMay) {
  Table table({{"ID"}, {"COMMAND", Table::kShrinks}, {"STATUS"}});
  table.Add({"0123456789ab", "sh -c 'while true; do date; sleep 1; done'", "Up 3 seconds"});
  const std::string narrow = table.Render(50);
  EXPECT_THAT(narrow, HasSubstr("0123456789ab  "));
  EXPECT_THAT(narrow, HasSubstr("…"));
  EXPECT_THAT(narrow, HasSubstr("Up 3 seconds\n"));
  size_t start = 0;
  for (size_t end; (end = narrow.find('\n', start)) != std::string::npos; start = end + 1) {
    EXPECT_LE(DisplayWidth(narrow.substr(start, end - start)), 50u);
  }
}

TEST(TableTest, NothingIsCutWithoutATerminal) {
  Table table({{"A", Table::kShrinks}, {"B"}});
  table.Add({std::string(300, 'x'), "y"});
  EXPECT_EQ(table.Render(0), "A" + std::string(301, ' ') + "B\n" + std::string(300, 'x') + "  y\n");
}

TEST(TableTest, TooNarrowATerminalCutsLines) {
  Table table({{"AAAAAAAAAAAA"}, {"BBBBBBBBBBBB"}});
  table.Add({"1", "2"});
  EXPECT_EQ(table.Render(10), "AAAAAAAAA…\n1        …\n");
}

TEST(JsonTest, AnyBytesMakeValidJson) {
  EXPECT_EQ(JsonString("a\"b\n"), "\"a\\\"b\\n\"");
  EXPECT_EQ(JsonString("a\xff"), "\"a\xEF\xBF\xBD\"");
  EXPECT_EQ(JsonObject().Text("a", "b").Number("n", -1).Texts("l", {"x"}).Take(),
            R"({"a":"b","n":-1,"l":["x"]})");
  EXPECT_EQ(PrettyJson("{\"a\":1}"), "{\n  \"a\": 1\n}");
}

}  // namespace
}  // namespace gantry::cli
