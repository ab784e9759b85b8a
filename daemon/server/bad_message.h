// Tells a client that its message could not be decoded.
//
// gRPC's callback API answers such a call with UNIMPLEMENTED and no words, as if the method did not exist.
#ifndef GANTRY_DAEMON_SERVER_BAD_MESSAGE_H_
#define GANTRY_DAEMON_SERVER_BAD_MESSAGE_H_

#include <grpcpp/support/server_interceptor.h>

#include <memory>

namespace gantry::server {

// For ServerBuilder: turns that answer into INVALID_ARGUMENT. Thread-safe.
std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface> MakeBadMessageInterceptor();

}  // namespace gantry::server

#endif  // GANTRY_DAEMON_SERVER_BAD_MESSAGE_H_
