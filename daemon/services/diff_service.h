// containerd.services.diff.v1.Diff: a blob of the store unpacked into a snapshot's mounts, and the difference of two
// snapshots' mounts as a blob.
//
// Thread-safe.
#ifndef GANTRY_DAEMON_SERVICES_DIFF_SERVICE_H_
#define GANTRY_DAEMON_SERVICES_DIFF_SERVICE_H_

#include "absl/status/status.h"
#include "api/proto/containerd/services/diff/v1/diff.grpc.pb.h"
#include "daemon/metadata/content.h"
#include "daemon/server/call_context.h"
#include "daemon/server/worker_pool.h"

namespace gantry::services {

class DiffService final : public containerd::services::diff::v1::Diff::CallbackService {
 public:
  // Both outlive the service. Calls run for as long as a layer takes: `bulk` is the pool for such work.
  DiffService(metadata::ContentStore* content, server::WorkerPool* bulk) : content_(*content), bulk_(bulk) {}

  grpc::ServerUnaryReactor* Apply(grpc::CallbackServerContext* context,
                                  const containerd::services::diff::v1::ApplyRequest* request,
                                  containerd::services::diff::v1::ApplyResponse* response) override;
  grpc::ServerUnaryReactor* Diff(grpc::CallbackServerContext* context,
                                 const containerd::services::diff::v1::DiffRequest* request,
                                 containerd::services::diff::v1::DiffResponse* response) override;

 private:
  absl::Status DoApply(const server::CallContext& call,
                       const containerd::services::diff::v1::ApplyRequest& request,
                       containerd::services::diff::v1::ApplyResponse* response);
  absl::Status DoDiff(const server::CallContext& call,
                      const containerd::services::diff::v1::DiffRequest& request,
                      containerd::services::diff::v1::DiffResponse* response);

  metadata::ContentStore& content_;
  server::WorkerPool* const bulk_;
};

}  // namespace gantry::services

#endif  // GANTRY_DAEMON_SERVICES_DIFF_SERVICE_H_
