// containerd.services.leases.v1.Leases. Thread-safe.
#ifndef GANTRY_DAEMON_SERVICES_LEASES_SERVICE_H_
#define GANTRY_DAEMON_SERVICES_LEASES_SERVICE_H_

#include "api/proto/containerd/services/leases/v1/leases.grpc.pb.h"
#include "daemon/gc/scheduler.h"
#include "daemon/metadata/leases.h"
#include "daemon/server/worker_pool.h"

namespace gantry::services {

class LeasesService final : public containerd::services::leases::v1::Leases::CallbackService {
 public:
  // All stay the caller's. `gc` serves the synchronous Delete.
  LeasesService(metadata::Leases* leases, gc::Trigger* gc, server::WorkerPool* pool)
      : leases_(*leases), gc_(*gc), pool_(pool) {}

  grpc::ServerUnaryReactor* Create(grpc::CallbackServerContext* context,
                                   const containerd::services::leases::v1::CreateRequest* request,
                                   containerd::services::leases::v1::CreateResponse* response) override;
  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext* context,
                                   const containerd::services::leases::v1::DeleteRequest* request,
                                   google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const containerd::services::leases::v1::ListRequest* request,
                                 containerd::services::leases::v1::ListResponse* response) override;
  grpc::ServerUnaryReactor* AddResource(grpc::CallbackServerContext* context,
                                        const containerd::services::leases::v1::AddResourceRequest* request,
                                        google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* DeleteResource(
      grpc::CallbackServerContext* context,
      const containerd::services::leases::v1::DeleteResourceRequest* request,
      google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* ListResources(
      grpc::CallbackServerContext* context,
      const containerd::services::leases::v1::ListResourcesRequest* request,
      containerd::services::leases::v1::ListResourcesResponse* response) override;

 private:
  metadata::Leases& leases_;
  gc::Trigger& gc_;
  server::WorkerPool* const pool_;
};

}  // namespace gantry::services

#endif  // GANTRY_DAEMON_SERVICES_LEASES_SERVICE_H_
