#include "daemon/services/leases_service.h"

#include <utility>

#include "daemon/server/service.h"
#include "daemon/services/collecting_delete.h"
#include "daemon/services/common.h"
#include "runtime/sys/status.h"

namespace gantry::services {

using containerd::services::leases::v1::AddResourceRequest;
using containerd::services::leases::v1::CreateRequest;
using containerd::services::leases::v1::CreateResponse;
using containerd::services::leases::v1::DeleteRequest;
using containerd::services::leases::v1::DeleteResourceRequest;
using containerd::services::leases::v1::ListRequest;
using containerd::services::leases::v1::ListResourcesRequest;
using containerd::services::leases::v1::ListResourcesResponse;
using containerd::services::leases::v1::ListResponse;
using google::protobuf::Empty;
using server::CallContext;
using server::NamespaceRule;

grpc::ServerUnaryReactor* LeasesService::Create(grpc::CallbackServerContext* context,
                                                const CreateRequest* request, CreateResponse* response) {
  return server::RunUnary(
      pool_, context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        metadata::Lease lease;
        lease.set_id(request.id());
        *lease.mutable_labels() = request.labels();
        GANTRY_ASSIGN_OR_RETURN(*response->mutable_lease(), leases_.Create(ScopeOf(call), std::move(lease)));
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* LeasesService::Delete(grpc::CallbackServerContext* context,
                                                const DeleteRequest* request, Empty* response) {
  return RunCollectingDelete(pool_, &gc_, context, request, response,
                             [this](const CallContext& call, const DeleteRequest& request) {
                               return leases_.Delete(ScopeOf(call), request.id());
                             });
}

grpc::ServerUnaryReactor* LeasesService::List(grpc::CallbackServerContext* context,
                                              const ListRequest* request, ListResponse* response) {
  return server::RunUnary(
      pool_, context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_ASSIGN_OR_RETURN(const filters::Filter filter, filters::Filter::ParseAny(request.filters()));
        GANTRY_ASSIGN_OR_RETURN(std::vector<metadata::Lease> all, leases_.List(ScopeOf(call), filter));
        for (auto& lease : all) *response->add_leases() = std::move(lease);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* LeasesService::AddResource(grpc::CallbackServerContext* context,
                                                     const AddResourceRequest* request, Empty* response) {
  return server::RunUnary(pool_, context, NamespaceRule::kRequired, request, response,
                          [this](const CallContext& call, const auto& request, Empty*) {
                            return leases_.AddResource(ScopeOf(call), request.id(), request.resource());
                          });
}

grpc::ServerUnaryReactor* LeasesService::DeleteResource(grpc::CallbackServerContext* context,
                                                        const DeleteResourceRequest* request,
                                                        Empty* response) {
  return server::RunUnary(pool_, context, NamespaceRule::kRequired, request, response,
                          [this](const CallContext& call, const auto& request, Empty*) {
                            return leases_.DeleteResource(ScopeOf(call), request.id(), request.resource());
                          });
}

grpc::ServerUnaryReactor* LeasesService::ListResources(grpc::CallbackServerContext* context,
                                                       const ListResourcesRequest* request,
                                                       ListResourcesResponse* response) {
  return server::RunUnary(
      pool_, context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_ASSIGN_OR_RETURN(std::vector<metadata::Resource> all,
                                leases_.ListResources(ScopeOf(call), request.id()));
        for (auto& resource : all) *response->add_resources() = std::move(resource);
        return absl::OkStatus();
      });
}

}  // namespace gantry::services
