#include "api/errors/errors.h"

#include <gtest/gtest.h>

namespace gantry::errors {
namespace {

TEST(ErrorsTest, EveryCodeSurvivesTheWire) {
  for (int code = 0; code <= 16; ++code) {
    EXPECT_EQ(WireCode(FromWireCode(code)), code);
    EXPECT_EQ(CodeName(FromWireCode(code)), absl::StatusCodeToString(static_cast<absl::StatusCode>(code)));
  }
}

TEST(ErrorsTest, NumbersAreTheCanonicalOnes) {
  EXPECT_EQ(WireCode(absl::StatusCode::kNotFound), 5);
  EXPECT_EQ(WireCode(absl::StatusCode::kUnimplemented), 12);
  EXPECT_EQ(WireCode(absl::StatusCode::kUnauthenticated), 16);
}

TEST(ErrorsTest, AMadeUpCodeBecomesUnknown) {
  for (int code : {-1, 17, 1000, INT32_MIN, INT32_MAX}) {
    EXPECT_EQ(FromWireCode(code), absl::StatusCode::kUnknown) << code;
  }
  EXPECT_EQ(FromWire(99, "odd"), absl::UnknownError("odd"));
  EXPECT_TRUE(FromWire(0, "fine").ok());
}

TEST(ErrorsTest, TheMessageNamesItsClassOnce) {
  EXPECT_EQ(WireMessage(absl::NotFoundError("container \"x\"")), "container \"x\": not found");
  EXPECT_EQ(WireMessage(absl::NotFoundError("container \"x\": not found")), "container \"x\": not found");
  EXPECT_EQ(WireMessage(absl::AlreadyExistsError("")), "already exists");
  EXPECT_EQ(WireMessage(absl::InternalError("boom")), "boom");
}

}  // namespace
}  // namespace gantry::errors
