#include "daemon/services/namespaces_service.h"

#include <utility>

#include "api/proto/containerd/events/namespace.pb.h"
#include "daemon/server/service.h"
#include "daemon/services/common.h"
#include "runtime/sys/status.h"

namespace gantry::services {

using containerd::services::namespaces::v1::CreateNamespaceRequest;
using containerd::services::namespaces::v1::CreateNamespaceResponse;
using containerd::services::namespaces::v1::DeleteNamespaceRequest;
using containerd::services::namespaces::v1::GetNamespaceRequest;
using containerd::services::namespaces::v1::GetNamespaceResponse;
using containerd::services::namespaces::v1::ListNamespacesRequest;
using containerd::services::namespaces::v1::ListNamespacesResponse;
using containerd::services::namespaces::v1::UpdateNamespaceRequest;
using containerd::services::namespaces::v1::UpdateNamespaceResponse;
using google::protobuf::Empty;
using server::CallContext;
using server::NamespaceRule;

grpc::ServerUnaryReactor* NamespacesService::Get(grpc::CallbackServerContext* context,
                                                 const GetNamespaceRequest* request,
                                                 GetNamespaceResponse* response) {
  return server::RunUnary(pool_, context, NamespaceRule::kOptional, request, response,
                          [this](const CallContext&, const auto& request, auto* response) -> absl::Status {
                            GANTRY_ASSIGN_OR_RETURN(*response->mutable_namespace_(),
                                                    namespaces_.Get(request.name()));
                            return absl::OkStatus();
                          });
}

grpc::ServerUnaryReactor* NamespacesService::List(grpc::CallbackServerContext* context,
                                                  const ListNamespacesRequest* request,
                                                  ListNamespacesResponse* response) {
  return server::RunUnary(pool_, context, NamespaceRule::kOptional, request, response,
                          [this](const CallContext&, const auto&, auto* response) -> absl::Status {
                            GANTRY_ASSIGN_OR_RETURN(std::vector<metadata::Namespace> all, namespaces_.List());
                            for (auto& ns : all) *response->add_namespaces() = std::move(ns);
                            return absl::OkStatus();
                          });
}

grpc::ServerUnaryReactor* NamespacesService::Create(grpc::CallbackServerContext* context,
                                                    const CreateNamespaceRequest* request,
                                                    CreateNamespaceResponse* response) {
  return server::RunUnary(pool_, context, NamespaceRule::kOptional, request, response,
                          [this](const CallContext&, const auto& request, auto* response) -> absl::Status {
                            GANTRY_ASSIGN_OR_RETURN(const metadata::Namespace created,
                                                    namespaces_.Create(request.namespace_()));
                            *response->mutable_namespace_() = created;
                            containerd::events::NamespaceCreate event;
                            event.set_name(created.name());
                            *event.mutable_labels() = created.labels();
                            PublishChange(publisher_, created.name(), "/namespaces/create", event);
                            return absl::OkStatus();
                          });
}

grpc::ServerUnaryReactor* NamespacesService::Update(grpc::CallbackServerContext* context,
                                                    const UpdateNamespaceRequest* request,
                                                    UpdateNamespaceResponse* response) {
  return server::RunUnary(pool_, context, NamespaceRule::kOptional, request, response,
                          [this](const CallContext&, const auto& request, auto* response) -> absl::Status {
                            GANTRY_ASSIGN_OR_RETURN(
                                const metadata::Namespace updated,
                                namespaces_.Update(request.namespace_(), PathsOf(request.update_mask())));
                            *response->mutable_namespace_() = updated;
                            containerd::events::NamespaceUpdate event;
                            event.set_name(updated.name());
                            *event.mutable_labels() = updated.labels();
                            PublishChange(publisher_, updated.name(), "/namespaces/update", event);
                            return absl::OkStatus();
                          });
}

grpc::ServerUnaryReactor* NamespacesService::Delete(grpc::CallbackServerContext* context,
                                                    const DeleteNamespaceRequest* request, Empty* response) {
  return server::RunUnary(pool_, context, NamespaceRule::kOptional, request, response,
                          [this](const CallContext&, const auto& request, Empty*) -> absl::Status {
                            GANTRY_RETURN_IF_ERROR(namespaces_.Delete(request.name()));
                            containerd::events::NamespaceDelete event;
                            event.set_name(request.name());
                            PublishChange(publisher_, request.name(), "/namespaces/delete", event);
                            return absl::OkStatus();
                          });
}

}  // namespace gantry::services
