// What the remote implementations of our interfaces share: the call's context, and the answer as an absl::Status.
#ifndef GANTRY_TEST_CLIENT_REMOTE_CALL_H_
#define GANTRY_TEST_CLIENT_REMOTE_CALL_H_

#include <google/protobuf/timestamp.pb.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace gantry::client {

// A call that takes longer than a minute is a fault of the daemon: DEADLINE_EXCEEDED.
inline std::unique_ptr<grpc::ClientContext> MakeCall(const std::string& ns, const std::string& lease = {}) {
  auto context = std::make_unique<grpc::ClientContext>();
  context->AddMetadata("containerd-namespace", ns);
  if (!lease.empty()) context->AddMetadata("containerd-lease", lease);
  context->set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(1));
  return context;
}

// The codes are the same numbers.
inline absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

inline absl::Time TimeFrom(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

}  // namespace gantry::client

#endif  // GANTRY_TEST_CLIENT_REMOTE_CALL_H_
