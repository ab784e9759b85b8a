// containerd.services.snapshots.v1.Snapshots: the snapshotters, each namespace with keys of its own.
//
// What a call makes is tied to the call's lease in the same write; also when the answer is ALREADY_EXISTS, so that a
// client that goes on with what is there cannot lose it to the garbage collector.
//
// Thread-safe.
#ifndef GANTRY_DAEMON_SERVICES_SNAPSHOTS_SERVICE_H_
#define GANTRY_DAEMON_SERVICES_SNAPSHOTS_SERVICE_H_

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "api/proto/containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "daemon/events/exchange.h"
#include "daemon/metadata/database.h"
#include "daemon/server/call_context.h"
#include "daemon/server/worker_pool.h"
#include "snapshotter/snapshotter.h"

namespace gantry::services {

// By name, as clients give it ("overlayfs"). Not owned.
using Snapshotters = std::map<std::string, snapshotter::Snapshotter*, std::less<>>;

// INVALID_ARGUMENT for an empty name and for one that is not there, naming those that are.
absl::StatusOr<snapshotter::Snapshotter*> FindSnapshotter(const Snapshotters& snapshotters,
                                                          absl::string_view name);

class SnapshotsService final : public containerd::services::snapshots::v1::Snapshots::CallbackService {
 public:
  struct Options {
    Snapshotters snapshotters;
    metadata::Database* database = nullptr;
    events::Publisher* events = nullptr;
    server::WorkerPool* records = nullptr;  // for calls that touch records and a few directories
    server::WorkerPool* bulk = nullptr;     // for those that walk or sync a whole tree
  };
  // What the options point at outlives the service.
  explicit SnapshotsService(Options options) : options_(std::move(options)) {}

  using Prepared = containerd::services::snapshots::v1::PrepareSnapshotResponse;
  using Viewed = containerd::services::snapshots::v1::ViewSnapshotResponse;

  grpc::ServerUnaryReactor* Prepare(
      grpc::CallbackServerContext* context,
      const containerd::services::snapshots::v1::PrepareSnapshotRequest* request,
      containerd::services::snapshots::v1::PrepareSnapshotResponse* response) override;
  grpc::ServerUnaryReactor* View(
      grpc::CallbackServerContext* context,
      const containerd::services::snapshots::v1::ViewSnapshotRequest* request,
      containerd::services::snapshots::v1::ViewSnapshotResponse* response) override;
  grpc::ServerUnaryReactor* Mounts(grpc::CallbackServerContext* context,
                                   const containerd::services::snapshots::v1::MountsRequest* request,
                                   containerd::services::snapshots::v1::MountsResponse* response) override;
  grpc::ServerUnaryReactor* Commit(grpc::CallbackServerContext* context,
                                   const containerd::services::snapshots::v1::CommitSnapshotRequest* request,
                                   google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* Remove(grpc::CallbackServerContext* context,
                                   const containerd::services::snapshots::v1::RemoveSnapshotRequest* request,
                                   google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* Stat(
      grpc::CallbackServerContext* context,
      const containerd::services::snapshots::v1::StatSnapshotRequest* request,
      containerd::services::snapshots::v1::StatSnapshotResponse* response) override;
  grpc::ServerUnaryReactor* Update(
      grpc::CallbackServerContext* context,
      const containerd::services::snapshots::v1::UpdateSnapshotRequest* request,
      containerd::services::snapshots::v1::UpdateSnapshotResponse* response) override;
  grpc::ServerWriteReactor<containerd::services::snapshots::v1::ListSnapshotsResponse>* List(
      grpc::CallbackServerContext* context,
      const containerd::services::snapshots::v1::ListSnapshotsRequest* request) override;
  grpc::ServerUnaryReactor* Usage(grpc::CallbackServerContext* context,
                                  const containerd::services::snapshots::v1::UsageRequest* request,
                                  containerd::services::snapshots::v1::UsageResponse* response) override;
  grpc::ServerUnaryReactor* Cleanup(grpc::CallbackServerContext* context,
                                    const containerd::services::snapshots::v1::CleanupRequest* request,
                                    google::protobuf::Empty* response) override;

 private:
  using MakeSnapshot = absl::StatusOr<std::vector<snapshotter::Mount>> (snapshotter::Snapshotter::*)(
      absl::string_view, absl::string_view, const snapshotter::MutationOptions&);

  // Prepare and View.
  template <typename Request, typename Response>
  absl::Status Make(MakeSnapshot make, const server::CallContext& call, const Request& request,
                    Response* response);
  absl::Status DoCommit(const server::CallContext& call,
                        const containerd::services::snapshots::v1::CommitSnapshotRequest& request);
  absl::Status DoRemove(const server::CallContext& call,
                        const containerd::services::snapshots::v1::RemoveSnapshotRequest& request);
  absl::Status DoUpdate(const server::CallContext& call,
                        const containerd::services::snapshots::v1::UpdateSnapshotRequest& request,
                        containerd::services::snapshots::v1::UpdateSnapshotResponse* response);

  // The writes that go with a mutation: the lease's references to what it makes and to what it ends (each may be
  // empty).
  snapshotter::Companion LeaseChange(const server::CallContext& call, const std::string& snapshotter,
                                     const std::string& made, const std::string& ended);
  // For an ALREADY_EXISTS: ties the one that is there to the lease. False when it is gone meanwhile.
  absl::StatusOr<bool> LeaseExisting(const server::CallContext& call, snapshotter::Snapshotter* snapshotter,
                                     const std::string& name, const std::string& key);

  const Options options_;
};

}  // namespace gantry::services

#endif  // GANTRY_DAEMON_SERVICES_SNAPSHOTS_SERVICE_H_
