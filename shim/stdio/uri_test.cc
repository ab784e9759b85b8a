#include "shim/stdio/uri.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::shim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(StreamTargetTest, TheFormsThatClientsUse) {
  EXPECT_EQ(ParseStreamTarget("")->kind, StreamKind::kNull);
  EXPECT_EQ(ParseStreamTarget("/run/fifo/out")->kind, StreamKind::kPath);
  EXPECT_EQ(ParseStreamTarget("/run/fifo/out")->path, "/run/fifo/out");
  EXPECT_EQ(ParseStreamTarget("fifo:///run/out")->kind, StreamKind::kPath);
  EXPECT_EQ(ParseStreamTarget("file:///var/log/a%20b")->path, "/var/log/a b");
  EXPECT_EQ(ParseStreamTarget("file:///x")->kind, StreamKind::kFile);
  EXPECT_TRUE(ParseStreamTarget("binary-v2:///x")->strict_ready);
}

TEST(StreamTargetTest, ALoggersQueryIsItsArguments) {
  const auto target = ParseStreamTarget("binary:///usr/bin/log?level=high&tag=a%26b+c&flag");
  ASSERT_TRUE(target.ok()) << target.status();
  EXPECT_EQ(target->kind, StreamKind::kBinary);
  EXPECT_EQ(target->path, "/usr/bin/log");
  EXPECT_THAT(target->arguments, ElementsAre("level", "high", "tag", "a&b c", "flag", ""));
}

TEST(StreamTargetTest, AStreamIsNamedByItsQuery) {
  const auto target = ParseStreamTarget("ttrpc+unix:///run/containerd/s/ab?x=y&streaming_id=c1-stdout");
  ASSERT_TRUE(target.ok()) << target.status();
  EXPECT_EQ(target->kind, StreamKind::kStream);
  EXPECT_EQ(target->stream_id, "c1-stdout");
  EXPECT_THAT(ParseStreamTarget("ttrpc+unix:///run/s").status().message(), HasSubstr("streaming_id"));
  EXPECT_THAT(ParseStreamTarget("grpc+vsock://3:1?streaming_id=x").status().message(),
              HasSubstr("grpc+vsock"));
}

TEST(StreamTargetTest, AMistakeIsNamed) {
  EXPECT_THAT(ParseStreamTarget("npipe:////x").status().message(), HasSubstr("npipe"));
  EXPECT_THAT(ParseStreamTarget("file://relative").status().message(), HasSubstr("absolute path"));
  EXPECT_THAT(ParseStreamTarget("binary:///x?a=%g1").status().message(), HasSubstr("hex"));
  EXPECT_THAT(ParseStreamTarget("file:///x%00y").status().message(), HasSubstr("NUL"));
}

}  // namespace
}  // namespace gantry::shim
