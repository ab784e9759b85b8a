#include "daemon/services/snapshots_service.h"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "api/proto/containerd/events/snapshot.pb.h"
#include "daemon/filters/filter.h"
#include "daemon/metadata/labels.h"
#include "daemon/metadata/leases.h"
#include "daemon/server/service.h"
#include "daemon/services/common.h"
#include "daemon/services/mounts.h"
#include "runtime/sys/status.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::snapshots::v1;
using server::CallContext;
using snapshotter::ScopedKey;
using snapshotter::Snapshotter;

constexpr auto kRequired = server::NamespaceRule::kRequired;
constexpr int kInfosPerMessage = 100;  // as containerd sends them

std::string Resource(absl::string_view snapshotter) {
  return absl::StrCat(metadata::kSnapshotResource, snapshotter);
}

snapshotter::Labels FromProto(const metadata::Labels& labels) { return {labels.begin(), labels.end()}; }

// A parent or name without its namespace.
std::string Unscoped(absl::string_view scoped) {
  absl::string_view ns, key;
  return snapshotter::SplitScopedKey(scoped, &ns, &key) ? std::string(key) : std::string(scoped);
}

void ToProto(const snapshotter::Info& info, api::Info* out) {
  out->set_name(Unscoped(info.name));
  out->set_parent(Unscoped(info.parent));
  out->set_kind(static_cast<api::Kind>(info.kind));
  *out->mutable_created_at() = metadata::ToProto(info.created);
  *out->mutable_updated_at() = metadata::ToProto(info.updated);
  for (const auto& [key, value] : info.labels) (*out->mutable_labels())[key] = value;
}

// What filters see: kind, name, parent, labels.<key>.
bool Matches(const filters::Filter& filter, const snapshotter::Info& info) {
  const std::string name = Unscoped(info.name), parent = Unscoped(info.parent);
  return filter.Match([&](filters::FieldPath path) -> std::optional<absl::string_view> {
    if (path.empty()) return std::nullopt;
    if (path[0] == "kind") return snapshotter::KindName(info.kind);
    if (path[0] == "name") return name;
    if (path[0] == "parent") return filters::TextField(parent);
    if (path[0] == "labels") return filters::LabelField(path.subspan(1), info.labels);
    return std::nullopt;
  });
}

absl::Status NeedKey(absl::string_view what, const std::string& key) {
  if (!key.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the snapshot's ", what, " must not be empty"));
}

}  // namespace

absl::StatusOr<Snapshotter*> FindSnapshotter(const Snapshotters& snapshotters, absl::string_view name) {
  if (name.empty()) return absl::InvalidArgumentError("the call names no snapshotter");
  const auto it = snapshotters.find(name);
  if (it != snapshotters.end()) return it->second;
  std::vector<std::string> names;
  for (const auto& [known, unused] : snapshotters) names.push_back(known);
  return absl::InvalidArgumentError(absl::StrCat("snapshotter not loaded: ", name, "; this daemon has ",
                                                 names.empty() ? "none" : absl::StrJoin(names, ", ")));
}

snapshotter::Companion SnapshotsService::LeaseChange(const CallContext& call, const std::string& snapshotter,
                                                     const std::string& made, const std::string& ended) {
  const metadata::Scope scope = ScopeOf(call);
  snapshotter::Companion companion;
  companion.locks = metadata::Leases::WithLease({}, scope);
  companion.add = [this, scope, type = Resource(snapshotter), made,
                   ended](kv::WriteBatch* batch) -> absl::Status {
    if (!ended.empty()) metadata::Leases::RemoveFrom(batch, scope, type, ended);
    if (made.empty()) return absl::OkStatus();
    GANTRY_RETURN_IF_ERROR(options_.database->EnsureNamespace(scope.ns, batch));
    return metadata::Leases::AddTo(batch, *options_.database->records(), scope, type, made);
  };
  return companion;
}

absl::StatusOr<bool> SnapshotsService::LeaseExisting(const CallContext& call, Snapshotter* snapshotter,
                                                     const std::string& name, const std::string& key) {
  if (call.lease.empty()) return true;
  const metadata::Scope scope = ScopeOf(call);
  // The lock keeps the collector out from the look at the snapshot to the reference.
  const kv::RecordLock lock = options_.database->records()->Lock(metadata::Leases::WithLease({}, scope));
  const absl::Status there = snapshotter->Stat(ScopedKey(call.ns, key)).status();
  if (absl::IsNotFound(there)) return false;
  GANTRY_RETURN_IF_ERROR(there);
  kv::WriteBatch batch;
  GANTRY_RETURN_IF_ERROR(
      metadata::Leases::AddTo(&batch, *options_.database->records(), scope, Resource(name), key));
  GANTRY_RETURN_IF_ERROR(options_.database->Commit(batch, metadata::Change::kAddition));
  return true;
}

template <typename Request, typename Response>
absl::Status SnapshotsService::Make(MakeSnapshot make, const CallContext& call, const Request& request,
                                    Response* response) {
  GANTRY_ASSIGN_OR_RETURN(Snapshotter* const snapshotter,
                          FindSnapshotter(options_.snapshotters, request.snapshotter()));
  GANTRY_RETURN_IF_ERROR(NeedKey("key", request.key()));
  GANTRY_RETURN_IF_ERROR(metadata::ValidateLabels("info.Labels", request.labels()));
  const auto ref = request.labels().find(std::string(snapshotter::kLabelSnapshotRef));
  const std::string target = ref == request.labels().end() ? "" : ref->second;
  // Twice: what was in the way may be gone when we want to hold it.
  for (const bool again : {false, true}) {
    absl::Status status;
    std::string existing = request.key();
    if (!target.empty() && snapshotter->Stat(ScopedKey(call.ns, target)).ok()) {
      existing = target;
      status = absl::AlreadyExistsError(absl::StrCat("target snapshot \"", target, "\" already exists"));
    } else {
      auto mounts = (snapshotter->*make)(
          ScopedKey(call.ns, request.key()), ScopedKey(call.ns, request.parent()),
          {FromProto(request.labels()), LeaseChange(call, request.snapshotter(), request.key(), "")});
      status = mounts.status();
      if (mounts.ok()) ToProto(*mounts, response->mutable_mounts());
    }
    if (status.ok()) options_.database->Notify(metadata::Change::kAddition);
    if (!absl::IsAlreadyExists(status)) return status;
    GANTRY_ASSIGN_OR_RETURN(const bool held,
                            LeaseExisting(call, snapshotter, request.snapshotter(), existing));
    if (held || again) return status;
  }
  return absl::OkStatus();
}

absl::Status SnapshotsService::DoCommit(const CallContext& call, const api::CommitSnapshotRequest& request) {
  GANTRY_ASSIGN_OR_RETURN(Snapshotter* const snapshotter,
                          FindSnapshotter(options_.snapshotters, request.snapshotter()));
  GANTRY_RETURN_IF_ERROR(NeedKey("name", request.name()));
  GANTRY_RETURN_IF_ERROR(NeedKey("key", request.key()));
  GANTRY_RETURN_IF_ERROR(metadata::ValidateLabels("info.Labels", request.labels()));
  for (const bool again : {false, true}) {
    const absl::Status status =
        snapshotter->Commit(ScopedKey(call.ns, request.name()), ScopedKey(call.ns, request.key()),
                            {FromProto(request.labels()),
                             LeaseChange(call, request.snapshotter(), request.name(), request.key())},
                            ScopedKey(call.ns, request.parent()));
    if (status.ok()) break;
    if (!absl::IsAlreadyExists(status)) return status;
    GANTRY_ASSIGN_OR_RETURN(const bool held,
                            LeaseExisting(call, snapshotter, request.snapshotter(), request.name()));
    if (held || again) return status;
  }
  options_.database->Notify(metadata::Change::kAddition);
  containerd::events::SnapshotCommit event;
  event.set_key(request.key());
  event.set_name(request.name());
  event.set_snapshotter(request.snapshotter());
  PublishChange(*options_.events, call.ns, "/snapshot/commit", event);
  return absl::OkStatus();
}

absl::Status SnapshotsService::DoRemove(const CallContext& call, const api::RemoveSnapshotRequest& request) {
  GANTRY_ASSIGN_OR_RETURN(Snapshotter* const snapshotter,
                          FindSnapshotter(options_.snapshotters, request.snapshotter()));
  GANTRY_RETURN_IF_ERROR(NeedKey("key", request.key()));
  GANTRY_RETURN_IF_ERROR(snapshotter->Remove(ScopedKey(call.ns, request.key()),
                                             LeaseChange(call, request.snapshotter(), "", request.key())));
  options_.database->Notify(metadata::Change::kRemoval);
  containerd::events::SnapshotRemove event;
  event.set_key(request.key());
  event.set_snapshotter(request.snapshotter());
  PublishChange(*options_.events, call.ns, "/snapshot/remove", event);
  return absl::OkStatus();
}

absl::Status SnapshotsService::DoUpdate(const CallContext& call, const api::UpdateSnapshotRequest& request,
                                        api::UpdateSnapshotResponse* response) {
  GANTRY_ASSIGN_OR_RETURN(Snapshotter* const snapshotter,
                          FindSnapshotter(options_.snapshotters, request.snapshotter()));
  GANTRY_RETURN_IF_ERROR(NeedKey("name", request.info().name()));
  GANTRY_RETURN_IF_ERROR(metadata::ValidateLabels("info.Labels", request.info().labels()));
  snapshotter::Info wanted;
  wanted.name = ScopedKey(call.ns, request.info().name());
  wanted.labels = FromProto(request.info().labels());
  GANTRY_ASSIGN_OR_RETURN(const snapshotter::Info info,
                          snapshotter->Update(wanted, PathsOf(request.update_mask())));
  ToProto(info, response->mutable_info());
  options_.database->Notify(metadata::Change::kRemoval);  // a label may have held something
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* SnapshotsService::Prepare(grpc::CallbackServerContext* context,
                                                    const api::PrepareSnapshotRequest* request,
                                                    api::PrepareSnapshotResponse* response) {
  return server::RunUnary(
      options_.records, context, kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_RETURN_IF_ERROR(Make(&Snapshotter::Prepare, call, request, response));
        containerd::events::SnapshotPrepare event;
        event.set_key(request.key());
        event.set_parent(request.parent());
        event.set_snapshotter(request.snapshotter());
        PublishChange(*options_.events, call.ns, "/snapshot/prepare", event);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* SnapshotsService::View(grpc::CallbackServerContext* context,
                                                 const api::ViewSnapshotRequest* request,
                                                 api::ViewSnapshotResponse* response) {
  return server::RunUnary(options_.records, context, kRequired, request, response,
                          [this](const CallContext& call, const auto& request, auto* response) {
                            return Make(&Snapshotter::View, call, request, response);
                          });
}

grpc::ServerUnaryReactor* SnapshotsService::Mounts(grpc::CallbackServerContext* context,
                                                   const api::MountsRequest* request,
                                                   api::MountsResponse* response) {
  return server::RunUnary(
      options_.records, context, kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_ASSIGN_OR_RETURN(Snapshotter* const snapshotter,
                                FindSnapshotter(options_.snapshotters, request.snapshotter()));
        GANTRY_ASSIGN_OR_RETURN(const auto mounts, snapshotter->Mounts(ScopedKey(call.ns, request.key())));
        ToProto(mounts, response->mutable_mounts());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* SnapshotsService::Commit(grpc::CallbackServerContext* context,
                                                   const api::CommitSnapshotRequest* request,
                                                   google::protobuf::Empty* response) {
  return server::RunUnary(
      options_.bulk, context, kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto*) { return DoCommit(call, request); });
}

grpc::ServerUnaryReactor* SnapshotsService::Remove(grpc::CallbackServerContext* context,
                                                   const api::RemoveSnapshotRequest* request,
                                                   google::protobuf::Empty* response) {
  return server::RunUnary(
      options_.records, context, kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto*) { return DoRemove(call, request); });
}

grpc::ServerUnaryReactor* SnapshotsService::Stat(grpc::CallbackServerContext* context,
                                                 const api::StatSnapshotRequest* request,
                                                 api::StatSnapshotResponse* response) {
  return server::RunUnary(
      options_.records, context, kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_ASSIGN_OR_RETURN(Snapshotter* const snapshotter,
                                FindSnapshotter(options_.snapshotters, request.snapshotter()));
        GANTRY_ASSIGN_OR_RETURN(const auto info, snapshotter->Stat(ScopedKey(call.ns, request.key())));
        ToProto(info, response->mutable_info());
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* SnapshotsService::Update(grpc::CallbackServerContext* context,
                                                   const api::UpdateSnapshotRequest* request,
                                                   api::UpdateSnapshotResponse* response) {
  return server::RunUnary(options_.records, context, kRequired, request, response,
                          [this](const CallContext& call, const auto& request, auto* response) {
                            return DoUpdate(call, request, response);
                          });
}

grpc::ServerWriteReactor<api::ListSnapshotsResponse>* SnapshotsService::List(
    grpc::CallbackServerContext* context, const api::ListSnapshotsRequest* request) {
  using Generator = server::Generator<api::ListSnapshotsResponse>;
  return server::RunPullStream<api::ListSnapshotsRequest, api::ListSnapshotsResponse>(
      options_.records, context, kRequired, request,
      [this](const CallContext& call, const auto& request) -> absl::StatusOr<Generator> {
        GANTRY_ASSIGN_OR_RETURN(Snapshotter* const snapshotter,
                                FindSnapshotter(options_.snapshotters, request.snapshotter()));
        GANTRY_ASSIGN_OR_RETURN(const auto filter, filters::Filter::ParseAny(request.filters()));
        auto infos = std::make_shared<std::vector<snapshotter::Info>>();
        GANTRY_RETURN_IF_ERROR(
            snapshotter->Walk(absl::StrCat(call.ns, "/"), [&](const snapshotter::Info& info) {
              if (Matches(filter, info)) infos->push_back(info);
              return absl::OkStatus();
            }));
        return Generator([infos, next = size_t{0}](api::ListSnapshotsResponse* response) mutable {
          for (int i = 0; i < kInfosPerMessage && next < infos->size(); ++i, ++next) {
            ToProto((*infos)[next], response->add_info());
          }
          return absl::StatusOr<bool>(response->info_size() > 0);
        });
      });
}

grpc::ServerUnaryReactor* SnapshotsService::Usage(grpc::CallbackServerContext* context,
                                                  const api::UsageRequest* request,
                                                  api::UsageResponse* response) {
  return server::RunUnary(
      options_.bulk, context, kRequired, request, response,
      [this](const CallContext& call, const auto& request, auto* response) -> absl::Status {
        GANTRY_ASSIGN_OR_RETURN(Snapshotter* const snapshotter,
                                FindSnapshotter(options_.snapshotters, request.snapshotter()));
        GANTRY_ASSIGN_OR_RETURN(const auto usage, snapshotter->GetUsage(ScopedKey(call.ns, request.key())));
        response->set_size(usage.size_bytes);
        response->set_inodes(usage.inodes);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* SnapshotsService::Cleanup(grpc::CallbackServerContext* context,
                                                    const api::CleanupRequest* request,
                                                    google::protobuf::Empty* response) {
  return server::RunUnary(options_.bulk, context, kRequired, request, response,
                          [this](const CallContext&, const auto& request, auto*) -> absl::Status {
                            GANTRY_ASSIGN_OR_RETURN(
                                Snapshotter* const snapshotter,
                                FindSnapshotter(options_.snapshotters, request.snapshotter()));
                            return snapshotter->Cleanup();
                          });
}

}  // namespace gantry::services
