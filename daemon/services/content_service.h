// containerd.services.content.v1.Content.
//
// Read sends chunks of up to kChunkBytes, each read only when the one before is on its way; Write handles one
// message at a time. So a client that stops reading or writing holds its stream, and no thread. Thread-safe.
#ifndef GANTRY_DAEMON_SERVICES_CONTENT_SERVICE_H_
#define GANTRY_DAEMON_SERVICES_CONTENT_SERVICE_H_

#include <cstddef>

#include "api/proto/containerd/services/content/v1/content.grpc.pb.h"
#include "daemon/events/exchange.h"
#include "daemon/metadata/content.h"
#include "daemon/server/worker_pool.h"

namespace gantry::services {

class ContentService final : public containerd::services::content::v1::Content::CallbackService {
 public:
  static constexpr size_t kChunkBytes = 1 << 20;

  // All stay the caller's. `records` serves what is short, `bulk` Read and Write.
  ContentService(metadata::ContentStore* content, events::Publisher* publisher, server::WorkerPool* records,
                 server::WorkerPool* bulk)
      : content_(*content), publisher_(*publisher), records_(records), bulk_(bulk) {}

  grpc::ServerUnaryReactor* Info(grpc::CallbackServerContext* context,
                                 const containerd::services::content::v1::InfoRequest* request,
                                 containerd::services::content::v1::InfoResponse* response) override;
  grpc::ServerUnaryReactor* Update(grpc::CallbackServerContext* context,
                                   const containerd::services::content::v1::UpdateRequest* request,
                                   containerd::services::content::v1::UpdateResponse* response) override;
  grpc::ServerWriteReactor<containerd::services::content::v1::ListContentResponse>* List(
      grpc::CallbackServerContext* context,
      const containerd::services::content::v1::ListContentRequest* request) override;
  grpc::ServerUnaryReactor* Delete(grpc::CallbackServerContext* context,
                                   const containerd::services::content::v1::DeleteContentRequest* request,
                                   google::protobuf::Empty* response) override;
  grpc::ServerWriteReactor<containerd::services::content::v1::ReadContentResponse>* Read(
      grpc::CallbackServerContext* context,
      const containerd::services::content::v1::ReadContentRequest* request) override;
  grpc::ServerUnaryReactor* Status(grpc::CallbackServerContext* context,
                                   const containerd::services::content::v1::StatusRequest* request,
                                   containerd::services::content::v1::StatusResponse* response) override;
  grpc::ServerUnaryReactor* ListStatuses(
      grpc::CallbackServerContext* context,
      const containerd::services::content::v1::ListStatusesRequest* request,
      containerd::services::content::v1::ListStatusesResponse* response) override;
  grpc::ServerBidiReactor<containerd::services::content::v1::WriteContentRequest,
                          containerd::services::content::v1::WriteContentResponse>*
  Write(grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Abort(grpc::CallbackServerContext* context,
                                  const containerd::services::content::v1::AbortRequest* request,
                                  google::protobuf::Empty* response) override;

 private:
  metadata::ContentStore& content_;
  events::Publisher& publisher_;
  server::WorkerPool* const records_;
  server::WorkerPool* const bulk_;
};

}  // namespace gantry::services

#endif  // GANTRY_DAEMON_SERVICES_CONTENT_SERVICE_H_
