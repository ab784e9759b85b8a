#include <utility>
#include <vector>

#include "daemon/filters/filter.h"
#include "daemon/server/service.h"
#include "daemon/services/common.h"
#include "daemon/services/sandbox_services.h"
#include "runtime/sys/status.h"

namespace gantry::services {

namespace api = containerd::services::sandbox::v1;
using server::CallContext;
using server::NamespaceRule;

grpc::ServerUnaryReactor* SandboxStoreService::Create(grpc::CallbackServerContext* context,
                                                      const api::StoreCreateRequest* request,
                                                      api::StoreCreateResponse* response) {
  return server::RunUnary(
      pool_, context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_ASSIGN_OR_RETURN(*response->mutable_sandbox(),
                                sandboxes_.Create(ScopeOf(call), request.sandbox()));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* SandboxStoreService::Update(grpc::CallbackServerContext* context,
                                                      const api::StoreUpdateRequest* request,
                                                      api::StoreUpdateResponse* response) {
  return server::RunUnary(
      pool_, context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        const std::vector<std::string> fields(request.fields().begin(), request.fields().end());
        GANTRY_ASSIGN_OR_RETURN(*response->mutable_sandbox(),
                                sandboxes_.Update(ScopeOf(call), request.sandbox(), fields));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* SandboxStoreService::Delete(grpc::CallbackServerContext* context,
                                                      const api::StoreDeleteRequest* request,
                                                      api::StoreDeleteResponse* response) {
  return server::RunUnary(pool_, context, NamespaceRule::kRequired, request, response,
                          [this](const CallContext& call, const auto& request, auto*) {
                            return sandboxes_.Delete(ScopeOf(call), request.sandbox_id());
                          });
}

grpc::ServerUnaryReactor* SandboxStoreService::List(grpc::CallbackServerContext* context,
                                                    const api::StoreListRequest* request,
                                                    api::StoreListResponse* response) {
  return server::RunUnary(
      pool_, context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_ASSIGN_OR_RETURN(const filters::Filter filter, filters::Filter::ParseAny(request.filters()));
        GANTRY_ASSIGN_OR_RETURN(std::vector<metadata::Sandbox> all, sandboxes_.List(ScopeOf(call), filter));
        for (metadata::Sandbox& sandbox : all) *response->add_list() = std::move(sandbox);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* SandboxStoreService::Get(grpc::CallbackServerContext* context,
                                                   const api::StoreGetRequest* request,
                                                   api::StoreGetResponse* response) {
  return server::RunUnary(
      pool_, context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_ASSIGN_OR_RETURN(*response->mutable_sandbox(),
                                sandboxes_.Get(ScopeOf(call), request.sandbox_id()));
        return absl::OkStatus();
      });
}

}  // namespace gantry::services
