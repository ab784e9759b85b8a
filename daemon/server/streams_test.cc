#include "daemon/server/streams.h"

#include <google/protobuf/wrappers.pb.h>
#include <gtest/gtest.h>

#include "daemon/server/service.h"

namespace gantry::server {
namespace {

using google::protobuf::StringValue;

// The templates are compiled whole here; how they behave on the wire is the server's test.
class Echo : public Exchange<StringValue, StringValue> {
 public:
  absl::StatusOr<ExchangeStep> OnRequest(const StringValue& request, StringValue* response) override {
    *response = request;
    return ExchangeStep::kReply;
  }
};

[[maybe_unused]] grpc::ServerWriteReactor<StringValue>* Pull(WorkerPool* pool,
                                                             grpc::CallbackServerContext* context,
                                                             const StringValue* request) {
  return RunPullStream<StringValue, StringValue>(
      pool, context, NamespaceRule::kRequired, request,
      [](const CallContext&, const StringValue&) -> absl::StatusOr<Generator<StringValue>> {
        return Generator<StringValue>([](StringValue*) -> absl::StatusOr<bool> { return false; });
      });
}

[[maybe_unused]] grpc::ServerBidiReactor<StringValue, StringValue>* Bidi(
    WorkerPool* pool, grpc::CallbackServerContext* context) {
  return RunExchange<StringValue, StringValue>(pool, context, NamespaceRule::kRequired,
                                               [](const CallContext&) { return std::make_unique<Echo>(); });
}

[[maybe_unused]] grpc::ServerUnaryReactor* Async(grpc::CallbackServerContext* context,
                                                 const StringValue* request, StringValue* response) {
  return RunAsync(context, NamespaceRule::kRequired, request, response,
                  [](const CallContext&, const StringValue& r, Reply<StringValue> reply) {
                    reply.OnCancel([] {});
                    reply(r);
                  });
}

[[maybe_unused]] grpc::ServerUnaryReactor* Unary(WorkerPool* pool, grpc::CallbackServerContext* context,
                                                 const StringValue* request, StringValue* response) {
  return RunUnary(pool, context, NamespaceRule::kRequired, request, response,
                  [](const CallContext&, const StringValue& r, StringValue* out) {
                    *out = r;
                    return absl::OkStatus();
                  });
}

TEST(PushStreamTest, PushAfterTheEndIsRefused) {
  PushStream<StringValue> stream(4);
  EXPECT_FALSE(stream.open());
  EXPECT_FALSE(stream.Push(std::make_shared<StringValue>()));
  stream.Close(absl::OkStatus());
}

}  // namespace
}  // namespace gantry::server
