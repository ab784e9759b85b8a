// Unpacking: layer after layer, each a snapshot named by its chain id (OCI image specification, config.md).
#include "absl/strings/str_cat.h"
#include "cmd/gantry/client/blobs.h"
#include "cmd/gantry/client/container_store.h"
#include "cmd/gantry/client/image_store.h"
#include "runtime/sys/status.h"

namespace gantry::cli {
namespace {

absl::StatusOr<bool> HasSnapshot(Client* client, const std::string& snapshotter, const std::string& key) {
  snapshots::StatSnapshotRequest request;
  snapshots::StatSnapshotResponse response;
  request.set_snapshotter(snapshotter);
  request.set_key(key);
  const absl::Status status =
      client->Call(client->snapshots(), &snapshots::Snapshots::Stub::Stat, request, &response);
  if (absl::IsNotFound(status)) return false;
  GANTRY_RETURN_IF_ERROR(status);
  return true;
}

// Extracts `layer` into the snapshot `key`, and checks what came out.
absl::Status Apply(Client* client, const ImageDescriptor& layer, const std::string& diff_id,
                   const Mounts& mounts) {
  diff::ApplyRequest request;
  diff::ApplyResponse response;
  *request.mutable_diff() = ToWire(layer);
  *request.mutable_mounts() = mounts;
  request.set_sync_fs(true);
  GANTRY_RETURN_IF_ERROR(
      client->Call(client->diff(), &diff::Diff::Stub::Apply, request, &response, kNoTimeout));
  if (response.applied().digest() == diff_id) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("layer ", layer.digest, " unpacks to ", response.applied().digest(),
                                          ", and the image's config says ", diff_id));
}

absl::Status UnpackLayer(Client* client, const std::string& snapshotter, const ImageDescriptor& layer,
                         const std::string& diff_id, const std::string& parent, const std::string& chain_id) {
  snapshots::PrepareSnapshotRequest prepare;
  snapshots::PrepareSnapshotResponse prepared;
  prepare.set_snapshotter(snapshotter);
  prepare.set_key(absl::StrCat("extract-", RandomHex(8), " ", chain_id));
  prepare.set_parent(parent);
  GANTRY_RETURN_IF_ERROR(
      client->Call(client->snapshots(), &snapshots::Snapshots::Stub::Prepare, prepare, &prepared));
  absl::Status status = Apply(client, layer, diff_id, prepared.mounts());
  if (status.ok()) {
    snapshots::CommitSnapshotRequest commit;
    google::protobuf::Empty committed;
    commit.set_snapshotter(snapshotter);
    commit.set_key(prepare.key());
    commit.set_name(chain_id);
    status = client->Call(client->snapshots(), &snapshots::Snapshots::Stub::Commit, commit, &committed,
                          kNoTimeout);
    if (status.ok()) return LabelBlob(client, layer.digest, {{"containerd.io/uncompressed", diff_id}});
  }
  RemoveSnapshot(client, snapshotter, prepare.key()).IgnoreError();
  // Somebody else unpacked the same layer meanwhile.
  return absl::IsAlreadyExists(status) ? absl::OkStatus() : status;
}

}  // namespace

absl::StatusOr<std::string> Unpack(Client* client, const std::string& snapshotter, const LoadedImage& image) {
  const auto& layers = image.manifest.layers;
  const auto& diff_ids = image.config.diff_ids;
  if (layers.size() != diff_ids.size()) {
    return absl::InvalidArgumentError(absl::StrCat("the manifest has ", layers.size(),
                                                   " layers, and the config ", diff_ids.size(),
                                                   " diff_ids: they must be as many"));
  }
  const std::vector<std::string> chain = ChainIds(diff_ids);
  if (chain.empty()) return "";
  GANTRY_ASSIGN_OR_RETURN(const bool done, HasSnapshot(client, snapshotter, chain.back()));
  if (done) return chain.back();
  for (size_t i = 0; i < chain.size(); ++i) {
    GANTRY_ASSIGN_OR_RETURN(const bool exists, HasSnapshot(client, snapshotter, chain[i]));
    if (exists) continue;
    GANTRY_RETURN_IF_ERROR(
        UnpackLayer(client, snapshotter, layers[i], diff_ids[i], i == 0 ? "" : chain[i - 1], chain[i]));
  }
  // Garbage collection keeps the snapshots for as long as the image keeps its config.
  GANTRY_RETURN_IF_ERROR(
      LabelBlob(client, image.manifest.config.digest,
                {{absl::StrCat("containerd.io/gc.ref.snapshot.", snapshotter), chain.back()}}));
  return chain.back();
}

}  // namespace gantry::cli
