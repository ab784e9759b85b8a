// Compiled twice, with full and with lite protobuf: the wire must be the same.
#include "api/any/any.h"

#include <gmock/gmock.h>
#include <google/protobuf/any.pb.h>
#include <gtest/gtest.h>

#include "api/proto/containerd/types/mount.pb.h"
#include "api/proto/containerd/types/runc/options/oci.pb.h"

namespace gantry::any {
namespace {

using containerd::runc::v1::Options;

TEST(AnyTest, TheTypeUrlIsTheBareName) {
  Options options;
  options.set_systemd_cgroup(true);
  google::protobuf::Any any;
  Pack(options, &any);
  EXPECT_EQ(any.type_url(), "containerd.runc.v1.Options");
  EXPECT_TRUE(Is<Options>(any));
  auto back = Unpack<Options>(any);
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_TRUE(back->systemd_cgroup());
}

TEST(AnyTest, TheLongTypeUrlIsUnderstood) {
  google::protobuf::Any any;
  any.set_type_url("type.googleapis.com/containerd.runc.v1.Options");
  EXPECT_TRUE(Unpack<Options>(any).ok());
}

TEST(AnyTest, AnotherTypeAndDamagedBytesAreNamed) {
  google::protobuf::Any any;
  Pack(containerd::types::Mount(), &any);
  EXPECT_THAT(Unpack<Options>(any).status().ToString(), testing::HasSubstr("containerd.types.Mount"));
  any.set_type_url("containerd.runc.v1.Options");
  any.set_value("\xff\xff");
  EXPECT_EQ(Unpack<Options>(any).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(AnyTest, OciTypesTravelAsJson) {
  google::protobuf::Any any;
  PackJson(kRuntimeSpec, R"({"ociVersion":"1.2.0"})", &any);
  EXPECT_EQ(any.type_url(), "types.containerd.io/opencontainers/runtime-spec/1/Spec");
  EXPECT_EQ(any.value(), R"({"ociVersion":"1.2.0"})");
}

// Bytes as containerd's Go code writes them.
TEST(AnyTest, MessagesHaveContainerdsBytes) {
  containerd::types::Mount mount;
  mount.set_type("bind");
  mount.set_source("/a");
  mount.set_target("/b");
  mount.add_options("ro");
  EXPECT_EQ(mount.SerializeAsString(),
            "\x0a\x04"
            "bind\x12\x02/a\x1a\x02/b\x22\x02ro");
}

}  // namespace
}  // namespace gantry::any
