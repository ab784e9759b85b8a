#include "daemon/tasks/shim_protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "api/proto/containerd/runtime/bootstrap/v1/bootstrap.pb.h"

namespace gantry::tasks {
namespace {

TEST(ShimProtocolTest, AllGenerationsOfAnswersAreUnderstood) {
  const auto bare = ParseBootstrap("unix:///run/containerd/s/ab\n");
  ASSERT_TRUE(bare.ok());
  EXPECT_EQ(bare->address, "unix:///run/containerd/s/ab");
  EXPECT_EQ(bare->version, 2);
  const auto json = ParseBootstrap(R"({"version":3,"address":"unix:///x","protocol":"ttrpc"})");
  ASSERT_TRUE(json.ok());
  EXPECT_EQ(json->address, "unix:///x");
  EXPECT_EQ(json->version, 3);
  containerd::runtime::bootstrap::v1::BootstrapResult result;
  result.set_version(3);
  result.set_address("unix:///y");
  result.set_protocol("ttrpc");
  const auto binary = ParseBootstrap(result.SerializeAsString());
  ASSERT_TRUE(binary.ok()) << binary.status();
  EXPECT_EQ(binary->address, "unix:///y");
  const auto again = ParseBootstrap(FormatBootstrap(*binary));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->address, "unix:///y");
  EXPECT_EQ(again->version, 3);
}

TEST(ShimProtocolTest, OtherAnswersAreErrors) {
  for (const char* bad : {"", "  \n", "some: error text", "{\"version\":3}", "{", "[1]", "unix:///x y",
                          "{\"version\":9"
                          ",\"address\":\"unix:///x\",\"protocol\":\"ttrpc\"}"}) {
    EXPECT_FALSE(ParseBootstrap(bad).ok()) << bad;
  }
  EXPECT_EQ(ParseBootstrap(R"({"version":3,"address":"/x","protocol":"grpc"})").status().code(),
            absl::StatusCode::kUnimplemented);
}

TEST(ShimProtocolTest, ArgumentsAndEnvironmentAreThoseOfTheProtocol) {
  const ShimCall call{"/b/shim", "ns", "id", "/bundle", "/c.sock", "/c.sock.ttrpc", "/b/gantryd", true};
  EXPECT_THAT(ShimArguments(call, ShimAction::kStart),
              testing::ElementsAre("/b/shim", "-namespace", "ns", "-address", "/c.sock", "-publish-binary",
                                   "/b/gantryd", "-id", "id", "-debug", "start"));
  EXPECT_THAT(ShimArguments(call, ShimAction::kServe),
              testing::ElementsAre("/b/shim", "-namespace", "ns", "-address", "/c.sock", "-id", "id",
                                   "-debug", "-socket-fd", "3", "serve"));
  EXPECT_THAT(ShimArguments(call, ShimAction::kSucceed),
              testing::ElementsAre("/b/shim", "-namespace", "ns", "-address", "/c.sock", "-id", "id",
                                   "-debug", "-socket-fd", "3", "-init-fd", "4", "serve"));
  EXPECT_THAT(ShimArguments(call, ShimAction::kDelete), testing::Contains("delete"));
  EXPECT_THAT(ShimEnvironment(call, {"PATH=/bin", "NOTIFY_SOCKET=/n"}, {"A=b"}),
              testing::ElementsAre("PATH=/bin", "A=b", "MAX_SHIM_VERSION=2", "TTRPC_ADDRESS=/c.sock.ttrpc",
                                   "GRPC_ADDRESS=/c.sock", "NAMESPACE=ns"));
}

}  // namespace
}  // namespace gantry::tasks
