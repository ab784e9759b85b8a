#include "test/client/remote_snapshotter.h"

#include <google/protobuf/empty.pb.h>
#include <grpcpp/client_context.h>

#include <atomic>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "api/proto/containerd/services/snapshots/v1/snapshots.grpc.pb.h"
#include "runtime/sys/status.h"
#include "test/client/remote_call.h"

namespace gantry::client {
namespace {

namespace api = containerd::services::snapshots::v1;
using google::protobuf::Empty;
using snapshotter::Companion;
using snapshotter::Info;
using snapshotter::Mount;
using snapshotter::MutationOptions;
using snapshotter::Usage;

Info InfoFrom(const api::Info& info) {
  Info out;
  out.kind = static_cast<snapshotter::Kind>(info.kind());
  out.name = info.name();
  out.parent = info.parent();
  out.labels = {info.labels().begin(), info.labels().end()};
  out.created = TimeFrom(info.created_at());
  out.updated = TimeFrom(info.updated_at());
  return out;
}

template <typename Mounts>
std::vector<Mount> MountsFrom(const Mounts& mounts) {
  std::vector<Mount> out;
  for (const auto& mount : mounts) {
    out.push_back(
        {mount.type(), mount.source(), mount.target(), {mount.options().begin(), mount.options().end()}});
  }
  return out;
}

class RemoteSnapshotter : public snapshotter::Snapshotter {
 public:
  explicit RemoteSnapshotter(RemoteSnapshotterOptions options)
      : options_(std::move(options)), stub_(api::Snapshots::NewStub(options_.channel)) {}

  absl::StatusOr<Info> Stat(absl::string_view key) override {
    api::StatSnapshotRequest request;
    request.set_key(std::string(key));
    api::StatSnapshotResponse response;
    GANTRY_RETURN_IF_ERROR(Call(&api::Snapshots::Stub::Stat, &request, &response));
    return InfoFrom(response.info());
  }

  absl::StatusOr<Info> Update(const Info& info, const std::vector<std::string>& fieldpaths) override {
    api::UpdateSnapshotRequest request;
    request.mutable_info()->set_name(info.name);
    request.mutable_info()->set_parent(info.parent);
    request.mutable_info()->mutable_labels()->insert(info.labels.begin(), info.labels.end());
    for (const std::string& path : fieldpaths) request.mutable_update_mask()->add_paths(path);
    api::UpdateSnapshotResponse response;
    GANTRY_RETURN_IF_ERROR(Call(&api::Snapshots::Stub::Update, &request, &response));
    return InfoFrom(response.info());
  }

  absl::StatusOr<Usage> GetUsage(absl::string_view key) override {
    api::UsageRequest request;
    request.set_key(std::string(key));
    api::UsageResponse response;
    GANTRY_RETURN_IF_ERROR(Call(&api::Snapshots::Stub::Usage, &request, &response));
    return Usage{response.size(), response.inodes()};
  }

  absl::StatusOr<std::vector<Mount>> Mounts(absl::string_view key) override {
    api::MountsRequest request;
    request.set_key(std::string(key));
    api::MountsResponse response;
    GANTRY_RETURN_IF_ERROR(Call(&api::Snapshots::Stub::Mounts, &request, &response));
    return MountsFrom(response.mounts());
  }

  absl::StatusOr<std::vector<Mount>> Prepare(absl::string_view key, absl::string_view parent,
                                             const MutationOptions& options) override {
    return Make<api::PrepareSnapshotRequest, api::PrepareSnapshotResponse>(&api::Snapshots::Stub::Prepare,
                                                                           key, parent, options);
  }
  absl::StatusOr<std::vector<Mount>> View(absl::string_view key, absl::string_view parent,
                                          const MutationOptions& options) override {
    return Make<api::ViewSnapshotRequest, api::ViewSnapshotResponse>(&api::Snapshots::Stub::View, key, parent,
                                                                     options);
  }

  absl::Status Commit(absl::string_view name, absl::string_view key, const MutationOptions& options,
                      absl::string_view parent) override {
    GANTRY_RETURN_IF_ERROR(CheckNone(options.companion));
    api::CommitSnapshotRequest request;
    request.set_name(std::string(name));
    request.set_key(std::string(key));
    request.set_parent(std::string(parent));
    request.mutable_labels()->insert(options.labels.begin(), options.labels.end());
    Empty nothing;
    return Call(&api::Snapshots::Stub::Commit, &request, &nothing);
  }

  absl::Status Remove(absl::string_view key, const Companion& companion) override {
    GANTRY_RETURN_IF_ERROR(CheckNone(companion));
    api::RemoveSnapshotRequest request;
    request.set_key(std::string(key));
    Empty nothing;
    return Call(&api::Snapshots::Stub::Remove, &request, &nothing);
  }

  absl::Status Walk(absl::string_view prefix,
                    const std::function<absl::Status(const Info&)>& visit) override {
    GANTRY_RETURN_IF_ERROR(CheckOpen());
    api::ListSnapshotsRequest request;
    request.set_snapshotter(options_.name);
    const auto context = MakeCall(options_.ns);
    const auto stream = stub_->List(context.get(), request);
    api::ListSnapshotsResponse page;
    while (stream->Read(&page)) {
      for (const api::Info& info : page.info()) {
        if (!absl::StartsWith(info.name(), prefix)) continue;
        const absl::Status status = visit(InfoFrom(info));
        if (status.ok()) continue;
        context->TryCancel();
        (void)stream->Finish();
        return status;
      }
    }
    return FromGrpc(stream->Finish());
  }

  absl::Status Cleanup() override {
    api::CleanupRequest request;
    Empty nothing;
    return Call(&api::Snapshots::Stub::Cleanup, &request, &nothing);
  }

  absl::Status Close() override {
    closed_ = true;
    return absl::OkStatus();
  }

 private:
  absl::Status CheckOpen() const {
    return closed_ ? absl::FailedPreconditionError("the snapshotter was closed") : absl::OkStatus();
  }
  static absl::Status CheckNone(const Companion& companion) {
    if (!companion.add) return absl::OkStatus();
    return absl::UnimplementedError("the Snapshots service takes no companions");
  }

  template <typename Request, typename Response>
  absl::Status Call(grpc::Status (api::Snapshots::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                 Response*),
                    Request* request, Response* response) {
    GANTRY_RETURN_IF_ERROR(CheckOpen());
    request->set_snapshotter(options_.name);
    const auto context = MakeCall(options_.ns);
    return FromGrpc(((*stub_).*method)(context.get(), *request, response));
  }

  template <typename Request, typename Response>
  absl::StatusOr<std::vector<Mount>> Make(
      grpc::Status (api::Snapshots::Stub::*method)(grpc::ClientContext*, const Request&, Response*),
      absl::string_view key, absl::string_view parent, const MutationOptions& options) {
    GANTRY_RETURN_IF_ERROR(CheckNone(options.companion));
    Request request;
    request.set_key(std::string(key));
    request.set_parent(std::string(parent));
    request.mutable_labels()->insert(options.labels.begin(), options.labels.end());
    Response response;
    GANTRY_RETURN_IF_ERROR(Call(method, &request, &response));
    return MountsFrom(response.mounts());
  }

  const RemoteSnapshotterOptions options_;
  const std::unique_ptr<api::Snapshots::Stub> stub_;
  std::atomic<bool> closed_{false};
};

}  // namespace

std::unique_ptr<snapshotter::Snapshotter> OpenRemoteSnapshotter(RemoteSnapshotterOptions options) {
  return std::make_unique<RemoteSnapshotter>(std::move(options));
}

}  // namespace gantry::client
