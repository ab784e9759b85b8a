// containerd.services.namespaces.v1.Namespaces. Its calls need no namespace in their header. Thread-safe.
#ifndef GANTRY_DAEMON_SERVICES_NAMESPACES_SERVICE_H_
#define GANTRY_DAEMON_SERVICES_NAMESPACES_SERVICE_H_

#include "api/proto/containerd/services/namespaces/v1/namespace.grpc.pb.h"
#include "daemon/events/exchange.h"
#include "daemon/metadata/namespaces.h"
#include "daemon/server/worker_pool.h"

namespace gantry::services {

class NamespacesService final : public containerd::services::namespaces::v1::Namespaces::CallbackService {
 public:
  // All stay the caller's.
  NamespacesService(metadata::Namespaces* namespaces, events::Publisher* publisher, server::WorkerPool* pool)
      : namespaces_(*namespaces), publisher_(*publisher), pool_(pool) {}

  grpc::ServerUnaryReactor* Get(
      grpc::CallbackServerContext* context,
      const containerd::services::namespaces::v1::GetNamespaceRequest* request,
      containerd::services::namespaces::v1::GetNamespaceResponse* response) override;
  grpc::ServerUnaryReactor* List(
      grpc::CallbackServerContext* context,
      const containerd::services::namespaces::v1::ListNamespacesRequest* request,
      containerd::services::namespaces::v1::ListNamespacesResponse* response) override;
  grpc::ServerUnaryReactor* Create(
      grpc::CallbackServerContext* context,
      const containerd::services::namespaces::v1::CreateNamespaceRequest* request,
      containerd::services::namespaces::v1::CreateNamespaceResponse* response) override;
  grpc::ServerUnaryReactor* Update(
      grpc::CallbackServerContext* context,
      const containerd::services::namespaces::v1::UpdateNamespaceRequest* request,
      containerd::services::namespaces::v1::UpdateNamespaceResponse* response) override;
  grpc::ServerUnaryReactor* Delete(
      grpc::CallbackServerContext* context,
      const containerd::services::namespaces::v1::DeleteNamespaceRequest* request,
      google::protobuf::Empty* response) override;

 private:
  metadata::Namespaces& namespaces_;
  events::Publisher& publisher_;
  server::WorkerPool* const pool_;
};

}  // namespace gantry::services

#endif  // GANTRY_DAEMON_SERVICES_NAMESPACES_SERVICE_H_
