// absl::Status to grpc::Status: the one place where an error of the daemon becomes one of the wire.
//
// Thread-safe: a plain function.
#ifndef GANTRY_DAEMON_SERVER_STATUS_H_
#define GANTRY_DAEMON_SERVER_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace gantry::server {

// By the table of api/errors. Bytes that are not valid UTF-8 are replaced in the message, since clients refuse
// them.
grpc::Status ToGrpcStatus(const absl::Status& status);
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace gantry::server

#endif  // GANTRY_DAEMON_SERVER_STATUS_H_
