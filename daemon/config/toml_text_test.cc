#include "daemon/config/toml_text.h"

#include "gtest/gtest.h"

namespace gantry::config {
namespace {

TEST(LineOfStrayUnicodeTest, StringsCommentsAndAByteOrderMarkMayHoldIt) {
  EXPECT_EQ(LineOfStrayUnicode(""), 0);
  EXPECT_EQ(LineOfStrayUnicode("\xEF\xBB\xBFversion = 3"), 0);
  EXPECT_EQ(LineOfStrayUnicode("# café\nroot = \"/é\" # é\nstate = '/é'"), 0);
  EXPECT_EQ(LineOfStrayUnicode("a = \"\"\"é\n\"é\"\né\"\"\"\nb = '''é\n'é'\n'''"), 0);
  EXPECT_EQ(LineOfStrayUnicode("a = \"\\\"é\""), 0);
  EXPECT_EQ(LineOfStrayUnicode("a = 'é"), 0);
  EXPECT_EQ(LineOfStrayUnicode("a = \"é\\"), 0);
}

TEST(LineOfStrayUnicodeTest, ElsewhereItIsFound) {
  EXPECT_EQ(LineOfStrayUnicode("é = 1"), 1);
  EXPECT_EQ(LineOfStrayUnicode("a = 1\nb =\xC2\xA0"
                               "2"),
            2);
  EXPECT_EQ(LineOfStrayUnicode("a = 'C:\\'\n# é\n[é]"), 3);
  EXPECT_EQ(LineOfStrayUnicode("a = \"\"\"\n\"\"\"é"), 2);
  EXPECT_EQ(LineOfStrayUnicode("a = \"\\é\""), 1);
  EXPECT_EQ(LineOfStrayUnicode("a = \"\"\"\\\n  é\"\"\""), 2);
  EXPECT_EQ(LineOfStrayUnicode("a = '\\é'"), 0);
  EXPECT_EQ(LineOfStrayUnicode("a = \"open\né = 1"), 2);
}

}  // namespace
}  // namespace gantry::config
