// The streaming service, as a client on a channel sees it.
#include <google/protobuf/empty.pb.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "api/any/any.h"
#include "daemon/services/streaming_service.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::streaming::v1;
using google::protobuf::Any;
using grpc::StatusCode;

class StreamingTest : public testing::Test {
 protected:
  void SetUp() override {
    grpc::ServerBuilder builder;
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    channel_ = server_->InProcessChannel({});
  }
  void TearDown() override { server_->Shutdown(); }

  struct Client {
    std::unique_ptr<grpc::ClientContext> context;
    std::unique_ptr<grpc::ClientReaderWriter<Any, Any>> stream;
  };
  Client Open(const std::string& ns, const std::string& id) {
    Client client{std::make_unique<grpc::ClientContext>(), nullptr};
    client.context->AddMetadata("containerd-namespace", ns);
    client.stream = api::Streaming::NewStub(channel_)->Stream(client.context.get());
    api::StreamInit init;
    init.set_id(id);
    Any any;
    any::Pack(init, &any);
    client.stream->Write(any);
    return client;
  }
  static bool Acknowledged(const Client& client) {
    Any answer;
    return client.stream->Read(&answer) && answer.type_url() == "google.protobuf.Empty";
  }

  StreamingService service_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(StreamingTest, ANameIsHeldAsLongAsItsClientIsThere) {
  Client first = Open("a", "s");
  ASSERT_TRUE(Acknowledged(first));
  Client second = Open("a", "s");
  EXPECT_FALSE(Acknowledged(second));
  EXPECT_EQ(second.stream->Finish().error_code(), StatusCode::ALREADY_EXISTS);
  Client other = Open("b", "s");
  EXPECT_TRUE(Acknowledged(other)) << "namespaces have names of their own";
  first.context->TryCancel();
  EXPECT_EQ(first.stream->Finish().error_code(), StatusCode::CANCELLED);
  bool again = false;
  for (int i = 0; i < 500 && !again; ++i) {
    Client third = Open("a", "s");
    again = Acknowledged(third);
    third.context->TryCancel();
    third.stream->Finish();
  }
  EXPECT_TRUE(again) << "the name is free when its client has gone";
  other.context->TryCancel();
  other.stream->Finish();
}

TEST_F(StreamingTest, WhatIsNoStreamInitIsRefused) {
  Client nameless = Open("a", "");
  EXPECT_FALSE(Acknowledged(nameless));
  EXPECT_EQ(nameless.stream->Finish().error_code(), StatusCode::INVALID_ARGUMENT);
  grpc::ClientContext context;
  auto stream = api::Streaming::NewStub(channel_)->Stream(&context);
  stream->Write(Any());
  Any answer;
  EXPECT_FALSE(stream->Read(&answer));
  EXPECT_EQ(stream->Finish().error_code(), StatusCode::INVALID_ARGUMENT);
}

TEST_F(StreamingTest, ADaemonThatStopsEndsThem) {
  Client client = Open("a", "s");
  ASSERT_TRUE(Acknowledged(client));
  service_.Stop();
  Any answer;
  EXPECT_FALSE(client.stream->Read(&answer));
  EXPECT_EQ(client.stream->Finish().error_code(), StatusCode::UNAVAILABLE);
  Client late = Open("a", "t");
  EXPECT_FALSE(Acknowledged(late));
  EXPECT_EQ(late.stream->Finish().error_code(), StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace gantry::services
