#include "shim/bootstrap/protocol.h"

#include "api/any/any.h"
#include "api/proto/containerd/runtime/bootstrap/v1/bootstrap.pb.h"
#include "api/proto/containerd/types/runc/options/oci.pb.h"
#include "google/protobuf/any.pb.h"
#include "gtest/gtest.h"
#include "runtime/sys/sha256.h"
#include "shim/bootstrap/socket.h"

namespace gantry::shim {
namespace {

using containerd::runtime::bootstrap::v1::BootstrapParams;
using containerd::runtime::bootstrap::v1::BootstrapResult;

Options ForTask() {
  Options options;
  options.id = "c1";
  options.namespace_name = "ns";
  options.max_version = 2;
  return options;
}

google::protobuf::Any RuncOptions(const std::string& cgroup) {
  containerd::runc::v1::Options runc;
  runc.set_shim_cgroup(cgroup);
  google::protobuf::Any any;
  any::Pack(runc, &any);
  return any;
}

TEST(ProtocolTest, NothingOnStdinIsOneDotSix) {
  Options options = ForTask();
  EXPECT_EQ(ReadStartInput("", &options).answer, AnswerForm::kBareAddress);
  options.max_version = 3;
  EXPECT_EQ(ReadStartInput("", &options).answer, AnswerForm::kJson);
}

TEST(ProtocolTest, ADaemonThatNamesNoVersionGetsTheBareAddress) {
  Options options = ForTask();
  options.max_version = 0;
  EXPECT_EQ(ReadStartInput("", &options).answer, AnswerForm::kBareAddress);
  const StartInput input = ReadStartInput(RuncOptions("/shims").SerializeAsString(), &options);
  EXPECT_EQ(input.answer, AnswerForm::kBareAddress);
  EXPECT_EQ(input.shim_cgroup, "/shims");
}

TEST(ProtocolTest, AnAnyOfOptionsIsAnsweredInJson) {
  Options options = ForTask();
  const StartInput input = ReadStartInput(RuncOptions("/shims").SerializeAsString(), &options);
  EXPECT_EQ(input.answer, AnswerForm::kJson);
  EXPECT_EQ(input.shim_cgroup, "/shims");
}

TEST(ProtocolTest, BootstrapParamsOverruleTheCommandLine) {
  BootstrapParams params;
  params.set_instance_id("c1");
  params.set_namespace_("ns");
  params.set_containerd_ttrpc_address("/t");
  params.set_containerd_grpc_address("/g");
  params.set_socket_dir("/d");
  *params.add_extensions()->mutable_value() = RuncOptions("/shims");
  Options options = ForTask();
  const StartInput input = ReadStartInput(params.SerializeAsString(), &options);
  EXPECT_EQ(input.answer, AnswerForm::kProtobuf);
  EXPECT_EQ(input.socket_dir, "/d");
  EXPECT_EQ(input.shim_cgroup, "/shims");
  EXPECT_EQ(options.ttrpc_address, "/t");
  EXPECT_EQ(options.grpc_address, "/g");
}

TEST(ProtocolTest, ParamsOfAnotherTaskAreNotBelieved) {
  BootstrapParams params;
  params.set_instance_id("other");
  params.set_namespace_("ns");
  Options options = ForTask();
  EXPECT_EQ(ReadStartInput(params.SerializeAsString(), &options).answer, AnswerForm::kJson);
}

TEST(ProtocolTest, AnswersHaveTheFormTheDaemonKnows) {
  EXPECT_EQ(FormatStartAnswer(AnswerForm::kBareAddress, "unix:///s/x", 2), "unix:///s/x");
  EXPECT_EQ(FormatStartAnswer(AnswerForm::kJson, "unix:///s/x", 3),
            R"({"version":3,"address":"unix:///s/x","protocol":"ttrpc"})");
  EXPECT_EQ(FormatStartAnswer(AnswerForm::kJson, "unix:///s/\"x", 2),
            R"({"version":2,"address":"unix:///s/\"x","protocol":"ttrpc"})");
  BootstrapResult result;
  ASSERT_TRUE(result.ParseFromString(FormatStartAnswer(AnswerForm::kProtobuf, "unix:///s/x", 2)));
  EXPECT_EQ(result.version(), 3);
  EXPECT_EQ(result.address(), "unix:///s/x");
  EXPECT_EQ(result.protocol(), "ttrpc");
}

TEST(Sha256Test, KnownDigests) {  // FIPS 180-4's examples
  EXPECT_EQ(sys::Sha256Hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sys::Sha256Hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sys::Sha256Hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sys::Sha256Hex(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(SocketPathTest, IsTheHashOfTheJoinedPath) {
  EXPECT_EQ(SocketPath("/s", "/run/c.sock", "ns", "c1"), "/s/" + sys::Sha256Hex("/run/c.sock/ns/c1"));
  EXPECT_EQ(SocketPath("/s", "/run//x/../c.sock/", "ns", "c1"), "/s/" + sys::Sha256Hex("/run/c.sock/ns/c1"));
  EXPECT_EQ(SocketPath("/s", "", "ns", "c1"), "/s/" + sys::Sha256Hex("ns/c1"));
}

}  // namespace
}  // namespace gantry::shim
