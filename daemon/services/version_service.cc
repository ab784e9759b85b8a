#include "daemon/services/version_service.h"

#include <utility>

#include "daemon/server/service.h"

namespace gantry::services {

using containerd::services::version::v1::VersionResponse;

VersionService::VersionService(std::string version, std::string revision)
    : version_(std::move(version)), revision_(std::move(revision)) {}

grpc::ServerUnaryReactor* VersionService::Version(grpc::CallbackServerContext* context,
                                                  const google::protobuf::Empty* request,
                                                  VersionResponse* response) {
  return server::RunUnary(
      nullptr, context, server::NamespaceRule::kOptional, request, response,
      [this](const server::CallContext&, const google::protobuf::Empty&, VersionResponse* response) {
        response->set_version(version_);
        response->set_revision(revision_);
        return absl::OkStatus();
      });
}

}  // namespace gantry::services
