// containerd.services.containers.v1.Containers. Thread-safe.
#ifndef GANTRY_DAEMON_SERVICES_CONTAINERS_SERVICE_H_
#define GANTRY_DAEMON_SERVICES_CONTAINERS_SERVICE_H_

#include "api/proto/containerd/services/containers/v1/containers.grpc.pb.h"
#include "daemon/events/exchange.h"
#include "daemon/metadata/containers.h"
#include "daemon/server/worker_pool.h"

namespace gantry::services {

class ContainersService final : public containerd::services::containers::v1::Containers::CallbackService {
 public:
  // All stay the caller's.
  ContainersService(metadata::Containers* containers, events::Publisher* publisher, server::WorkerPool* pool)
      : containers_(*containers), publisher_(*publisher), pool_(pool) {}

  grpc::ServerUnaryReactor* Get(
      grpc::CallbackServerContext* context,
      const containerd::services::containers::v1::GetContainerRequest* request,
      containerd::services::containers::v1::GetContainerResponse* response) override;
  grpc::ServerUnaryReactor* List(
      grpc::CallbackServerContext* context,
      const containerd::services::containers::v1::ListContainersRequest* request,
      containerd::services::containers::v1::ListContainersResponse* response) override;
  grpc::ServerWriteReactor<containerd::services::containers::v1::ListContainerMessage>* ListStream(
      grpc::CallbackServerContext* context,
      const containerd::services::containers::v1::ListContainersRequest* request) override;
  grpc::ServerUnaryReactor* Create(
      grpc::CallbackServerContext* context,
      const containerd::services::containers::v1::CreateContainerRequest* request,
      containerd::services::containers::v1::CreateContainerResponse* response) override;
  grpc::ServerUnaryReactor* Update(
      grpc::CallbackServerContext* context,
      const containerd::services::containers::v1::UpdateContainerRequest* request,
      containerd::services::containers::v1::UpdateContainerResponse* response) override;
  grpc::ServerUnaryReactor* Delete(
      grpc::CallbackServerContext* context,
      const containerd::services::containers::v1::DeleteContainerRequest* request,
      google::protobuf::Empty* response) override;

 private:
  metadata::Containers& containers_;
  events::Publisher& publisher_;
  server::WorkerPool* const pool_;
};

}  // namespace gantry::services

#endif  // GANTRY_DAEMON_SERVICES_CONTAINERS_SERVICE_H_
