#include "daemon/server/call_context.h"

#include <utility>

#include "daemon/server/identifier.h"
#include "runtime/sys/status.h"

namespace gantry::server {
namespace {

std::string Metadata(const grpc::ServerContextBase& context, const char* key) {
  const auto& metadata = context.client_metadata();
  const auto it = metadata.find(key);
  return it == metadata.end() ? std::string() : std::string(it->second.data(), it->second.size());
}

}  // namespace

absl::StatusOr<CallContext> MakeCallContext(std::string ns, std::string lease, NamespaceRule rule) {
  if (ns.empty()) {
    if (rule == NamespaceRule::kRequired) return absl::FailedPreconditionError("namespace is required");
  } else {
    GANTRY_RETURN_IF_ERROR(ValidateIdentifier("namespace", ns));
  }
  return CallContext{std::move(ns), std::move(lease)};
}

absl::StatusOr<CallContext> ReadCallContext(const grpc::ServerContextBase& context, NamespaceRule rule) {
  return MakeCallContext(Metadata(context, kNamespaceKey), Metadata(context, kLeaseKey), rule);
}

}  // namespace gantry::server
