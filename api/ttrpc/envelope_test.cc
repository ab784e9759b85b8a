#include "api/ttrpc/envelope.h"

#include <gtest/gtest.h>

#include <limits>

namespace gantry::ttrpc {
namespace {

TEST(EnvelopeTest, ARequestSurvives) {
  Request request{.service = "containerd.task.v3.Task",
                  .method = "Create",
                  .payload = std::string("\0\xff\x80 payload", 11),
                  .timeout_nanos = 5'000'000'000,
                  .metadata = {{"containerd-namespace-ttrpc", "default"}, {"k", ""}}};
  auto parsed = ParseRequest(EncodeRequest(request));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->service, request.service);
  EXPECT_EQ(parsed->method, request.method);
  EXPECT_EQ(parsed->payload, request.payload);
  EXPECT_EQ(parsed->timeout_nanos, request.timeout_nanos);
  EXPECT_EQ(parsed->metadata, request.metadata);
}

TEST(EnvelopeTest, BytesAreProtobufs) {
  EXPECT_EQ(EncodeRequest({.service = "s", .method = "m", .payload = "p", .timeout_nanos = 300}),
            "\x0a\x01s\x12\x01m\x1a\x01p\x20\xac\x02");
  EXPECT_EQ(EncodeRequest({.metadata = {{"a", "b"}}}),
            "\x2a\x06\x0a\x01"
            "a\x12\x01"
            "b");
  EXPECT_EQ(EncodeResponse({.payload = "ok"}), "\x12\x02ok");
  EXPECT_EQ(EncodeResponse({.status = absl::InternalError("no")}), "\x0a\x06\x08\x0d\x12\x02no");
  EXPECT_EQ(EncodeResponse({}), "");
}

TEST(EnvelopeTest, NegativeTimeoutsSurvive) {
  for (int64_t nanos :
       {int64_t{-1}, std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()}) {
    auto parsed = ParseRequest(EncodeRequest({.timeout_nanos = nanos}));
    ASSERT_TRUE(parsed.ok());
    EXPECT_EQ(parsed->timeout_nanos, nanos);
  }
}

TEST(EnvelopeTest, AStatusSurvives) {
  auto parsed = ParseResponse(EncodeResponse({.status = absl::NotFoundError("task x")}));
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->status, absl::NotFoundError("task x: not found"));
  auto made_up = ParseResponse("\x0a\x02\x08\x63");
  ASSERT_TRUE(made_up.ok());
  EXPECT_EQ(made_up->status.code(), absl::StatusCode::kUnknown);
}

TEST(EnvelopeTest, UnknownFieldsOfEveryWireTypeAreSkipped) {
  const std::string unknown(
      "\x48\x07\x51"
      "12345678"
      "\x5a\x02xy\x65"
      "1234",
      20);
  auto parsed = ParseRequest(unknown + EncodeRequest({.service = "s"}) + unknown);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->service, "s");
}

TEST(EnvelopeTest, DamagedBytesAreRefused) {
  const std::string good = EncodeRequest({.service = "service", .metadata = {{"key", "value"}}});
  EXPECT_FALSE(ParseRequest(good.substr(0, good.size() - 1)).ok());
  for (const char* bad : {"\x0a\x7f", "\x0b", "\x0a", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                          "\x08\x01", "\x2a\x02\x0a\x05", "\x20"}) {
    EXPECT_EQ(ParseRequest(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
  EXPECT_FALSE(ParseResponse("\x0a\x03\x08").ok());
}

TEST(EnvelopeTest, MetadataHasABound) {
  std::string many;
  for (int i = 0; i < 1001; ++i) many += std::string("\x2a\x00", 2);
  EXPECT_FALSE(ParseRequest(many).ok());
  EXPECT_TRUE(ParseRequest(many.substr(2)).ok());
}

}  // namespace
}  // namespace gantry::ttrpc
