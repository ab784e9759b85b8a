#include "cmd/gantryd/publish.h"

#include <grpc/support/time.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>

#include "absl/strings/str_cat.h"
#include "api/proto/containerd/services/events/v1/events.grpc.pb.h"
#include "daemon/server/call_context.h"
#include "daemon/server/status.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry {
namespace {

constexpr size_t kLargestEvent = 4 << 20;
constexpr int kTimeoutSeconds = 10;

}  // namespace

absl::Status Publish(const std::string& address, const std::string& ns, const std::string& topic,
                     int input_fd) {
  absl::StatusOr<std::string> input = sys::ReadAll(input_fd, kLargestEvent);
  if (!input.ok()) return sys::Annotate(input.status(), "reading the event from standard input");
  containerd::services::events::v1::PublishRequest request;
  request.set_topic(topic);
  if (!request.mutable_event()->ParseFromString(*input)) {
    return absl::InvalidArgumentError("standard input holds no encoded google.protobuf.Any");
  }
  const auto stub = containerd::services::events::v1::Events::NewStub(
      grpc::CreateChannel(absl::StrCat("unix:", address), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(
      gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_seconds(kTimeoutSeconds, GPR_TIMESPAN)));
  if (!ns.empty()) context.AddMetadata(server::kNamespaceKey, ns);
  google::protobuf::Empty response;
  return sys::Annotate(server::FromGrpcStatus(stub->Publish(&context, request, &response)),
                       absl::StrCat("publishing at ", address));
}

}  // namespace gantry
