// What a gRPC call says about itself in its metadata: the namespace it works in and the lease that shall hold
// what it makes.
//
// The keys are containerd's: `containerd-namespace` and `containerd-lease` (its packages namespaces and
// leases). Thread-safe: plain data and functions.
#ifndef GANTRY_DAEMON_SERVER_CALL_CONTEXT_H_
#define GANTRY_DAEMON_SERVER_CALL_CONTEXT_H_

#include <grpcpp/server_context.h>

#include <string>

#include "absl/status/statusor.h"

namespace gantry::server {

inline constexpr char kNamespaceKey[] = "containerd-namespace";
inline constexpr char kLeaseKey[] = "containerd-lease";

struct CallContext {
  std::string ns;     // a valid identifier; empty only where the rule is kOptional
  std::string lease;  // empty: none
};

// Whether a method needs a namespace. Where it is optional and given, it is still checked.
enum class NamespaceRule { kRequired, kOptional };

// Errors: FAILED_PRECONDITION "namespace is required"; INVALID_ARGUMENT for a name that breaks the rule of
// identifier.h.
absl::StatusOr<CallContext> ReadCallContext(const grpc::ServerContextBase& context, NamespaceRule rule);

// The pure part, for tests and for callers without a gRPC context.
absl::StatusOr<CallContext> MakeCallContext(std::string ns, std::string lease, NamespaceRule rule);

}  // namespace gantry::server

#endif  // GANTRY_DAEMON_SERVER_CALL_CONTEXT_H_
