// containerd.services.images.v1.Images. Thread-safe.
#ifndef GANTRY_DAEMON_SERVICES_IMAGES_SERVICE_H_
#define GANTRY_DAEMON_SERVICES_IMAGES_SERVICE_H_

#include "api/proto/containerd/services/images/v1/images.grpc.pb.h"
#include "daemon/events/exchange.h"
#include "daemon/gc/scheduler.h"
#include "daemon/metadata/images.h"
#include "daemon/server/worker_pool.h"

namespace gantry::services {

class ImagesService final : public containerd::services::images::v1::Images::CallbackService {
 public:
  // All stay the caller's. `gc` serves the synchronous Delete.
  ImagesService(metadata::Images* images, events::Publisher* publisher, gc::Trigger* gc,
                server::WorkerPool* pool)
      : images_(*images), publisher_(*publisher), gc_(*gc), pool_(pool) {}

  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context,
                                const containerd::services::images::v1::GetImageRequest* request,
                                containerd::services::images::v1::GetImageResponse* response) override;
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const containerd::services::images::v1::ListImagesRequest* request,
                                 containerd::services::images::v1::ListImagesResponse* response) override;
  grpc::ServerUnaryReactor* Create(grpc::CallbackServerContext* context,
                                   const containerd::services::images::v1::CreateImageRequest* request,
                                   containerd::services::images::v1::CreateImageResponse* response) override;
  grpc::ServerUnaryReactor* Update(grpc::CallbackServerContext* context,
                                   const containerd::services::images::v1::UpdateImageRequest* request,
                                   containerd::services::images::v1::UpdateImageResponse* response) override;
  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext* context,
                                   const containerd::services::images::v1::DeleteImageRequest* request,
                                   google::protobuf::Empty* response) override;

 private:
  absl::Status DeleteImage(const metadata::Scope& scope,
                           const containerd::services::images::v1::DeleteImageRequest& request);

  metadata::Images& images_;
  events::Publisher& publisher_;
  gc::Trigger& gc_;
  server::WorkerPool* const pool_;
};

}  // namespace gantry::services

#endif  // GANTRY_DAEMON_SERVICES_IMAGES_SERVICE_H_
