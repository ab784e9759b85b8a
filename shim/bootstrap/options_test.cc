#include "shim/bootstrap/options.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace gantry::shim {
namespace {

using ::testing::HasSubstr;

TEST(OptionsTest, WhatContainerdSendsIsUnderstood) {
  const auto options = ParseOptions({"-namespace", "ns", "-address", "/run/c.sock", "-publish-binary",
                                     "/usr/bin/containerd", "-id", "c1", "-bundle", "/b", "-debug", "start"},
                                    {"TTRPC_ADDRESS=/run/c.sock.ttrpc", "MAX_SHIM_VERSION=2", "HOME=/"});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->action, Action::kStart);
  EXPECT_EQ(options->namespace_name, "ns");
  EXPECT_EQ(options->id, "c1");
  EXPECT_EQ(options->grpc_address, "/run/c.sock");
  EXPECT_EQ(options->bundle, "/b");
  EXPECT_TRUE(options->debug);
  EXPECT_EQ(options->ttrpc_address, "/run/c.sock.ttrpc");
  EXPECT_EQ(options->max_version, 2);
}

TEST(OptionsTest, TwoDashesAndEqualsSignsAreTheSame) {
  const auto options = ParseOptions({"--namespace=ns", "--id=c", "-debug=false", "delete"}, {});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->action, Action::kDelete);
  EXPECT_FALSE(options->debug);
}

TEST(OptionsTest, ServeTakesItsSocketAsADescriptor) {
  const auto options = ParseOptions({"-namespace", "n", "-id", "c", "-socket-fd", "3", "serve"}, {});
  ASSERT_TRUE(options.ok()) << options.status();
  EXPECT_EQ(options->socket_fd, 3);
  for (const char* bad : {"2", "-1", "x", ""}) {
    EXPECT_THAT(
        ParseOptions({"-namespace", "n", "-id", "c", "-socket-fd", bad, "serve"}, {}).status().message(),
        HasSubstr("-socket-fd"))
        << bad;
  }
}

TEST(OptionsTest, AMistakeIsNamed) {
  const auto message = [](std::vector<std::string> arguments) {
    return std::string(ParseOptions(arguments, {}).status().message());
  };
  EXPECT_THAT(message({"-namespace", "n", "-id", "c"}), HasSubstr("no action"));
  EXPECT_THAT(message({"-namespace", "n", "-id", "c", "stop"}), HasSubstr("\"stop\""));
  EXPECT_THAT(message({"-id", "c", "start"}), HasSubstr("namespace cannot be empty"));
  EXPECT_THAT(message({"-namespace", "n", "start"}), HasSubstr("-id"));
  EXPECT_THAT(message({"-namespace", "n", "-id", "../x", "start"}), HasSubstr("../x"));
  EXPECT_THAT(message({"-colour", "red", "start"}), HasSubstr("-colour"));
  EXPECT_THAT(message({"-id"}), HasSubstr("-id takes a value"));
  EXPECT_THAT(message({"-debug=maybe", "start"}), HasSubstr("maybe"));
}

TEST(OptionsTest, InfoAndVersionNeedNothingElse) {
  EXPECT_EQ(ParseOptions({"-info"}, {})->action, Action::kInfo);
  EXPECT_EQ(ParseOptions({"-v"}, {})->action, Action::kVersion);
}

}  // namespace
}  // namespace gantry::shim
