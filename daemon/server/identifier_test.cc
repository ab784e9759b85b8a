#include "daemon/server/identifier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace gantry::server {
namespace {

TEST(IdentifierTest, AcceptsLettersDigitsAndSingleSeparatorsBetween) {
  for (const char* good : {"a", "default", "k8s.io", "a-b_c.d", "0", "X9"}) {
    EXPECT_TRUE(ValidateIdentifier("namespace", good).ok()) << good;
  }
  EXPECT_TRUE(ValidateIdentifier("namespace", std::string(76, 'x')).ok());
}

TEST(IdentifierTest, RefusesTheRestAndNamesTheRule) {
  for (const std::string& bad :
       {std::string(), std::string("a/b"), std::string("_lead"), std::string("trail-"), std::string("sp ace"),
        std::string("a..b"), std::string(77, 'x'), std::string(".."), std::string("a\nb"),
        std::string("\xc3\xa4")}) {
    const absl::Status status = ValidateIdentifier("namespace", bad);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr("namespace"));
  }
}

}  // namespace
}  // namespace gantry::server
