#include "daemon/services/diff_service.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "content/digest.h"
#include "daemon/metadata/database.h"
#include "daemon/server/service.h"
#include "daemon/services/common.h"
#include "daemon/services/mounts.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"
#include "snapshotter/diff/apply.h"
#include "snapshotter/diff/compute.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::diff::v1;
using server::CallContext;

constexpr auto kRequired = server::NamespaceRule::kRequired;

constexpr char kOciLayer[] = "application/vnd.oci.image.layer.v1.tar";
constexpr char kOciLayerGzip[] = "application/vnd.oci.image.layer.v1.tar+gzip";
// Clients look up a layer's diff id here, so that they need not inflate it.
constexpr char kUncompressedLabel[] = "containerd.io/uncompressed";

bool IsLayer(const std::string& media_type) {
  static const auto* const kTypes = new absl::flat_hash_set<std::string>{
      kOciLayer,
      kOciLayerGzip,
      "application/vnd.oci.image.layer.v1.tar+zstd",
      "application/vnd.oci.image.layer.nondistributable.v1.tar",
      "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
      "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
      "application/vnd.docker.image.rootfs.diff.tar",
      "application/vnd.docker.image.rootfs.diff.tar.gzip",
      "application/vnd.docker.image.rootfs.diff.tar.zstd",
      "application/vnd.docker.image.rootfs.foreign.diff.tar",
      "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
  };
  return kTypes->contains(media_type);
}

absl::Status SyncFileSystem(const std::string& path) {
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::OpenAt(AT_FDCWD, path, O_RDONLY | O_DIRECTORY));
  if (::syncfs(fd.get()) != 0) return sys::ErrnoStatus("syncfs", path);
  return absl::OkStatus();
}

// The name of an ingest that nobody else uses.
std::string NewRef() {
  static std::atomic<uint64_t> counter{0};
  return absl::StrCat("diff-", ::getpid(), "-", sys::MonotonicNanos(), "-", counter.fetch_add(1));
}

}  // namespace

absl::Status DiffService::DoApply(const CallContext& call, const api::ApplyRequest& request,
                                  api::ApplyResponse* response) {
  if (!IsLayer(request.diff().media_type())) {
    return absl::UnimplementedError(
        absl::StrCat("media type \"", request.diff().media_type(),
                     "\" is not supported: it is no layer that can be unpacked here"));
  }
  GANTRY_ASSIGN_OR_RETURN(const content::Digest digest, content::Digest::Parse(request.diff().digest()));
  GANTRY_ASSIGN_OR_RETURN(diff::TargetOptions target, diff::TargetOfMounts(FromProto(request.mounts())));
  GANTRY_ASSIGN_OR_RETURN(auto blob, content_.Open(ScopeOf(call), digest));
  const std::string directory = target.directory;
  auto applied = diff::Apply(std::make_unique<diff::BlobSource>(std::move(blob)), std::move(target),
                             [this](std::function<void()> work) { bulk_->Submit(std::move(work)); });
  if (!applied.ok()) {
    return sys::Annotate(applied.status(), absl::StrCat("cannot unpack layer ", digest.ToString()));
  }
  if (request.sync_fs()) GANTRY_RETURN_IF_ERROR(SyncFileSystem(directory));
  response->mutable_applied()->set_media_type(kOciLayer);
  response->mutable_applied()->set_digest(applied->digest.ToString());
  response->mutable_applied()->set_size(applied->size_bytes);
  return absl::OkStatus();
}

absl::Status DiffService::DoDiff(const CallContext& call, const api::DiffRequest& request,
                                 api::DiffResponse* response) {
  const std::string media_type = request.media_type().empty() ? kOciLayerGzip : request.media_type();
  diff::ComputeOptions options;
  if (media_type == kOciLayer) {
    options.compression = diff::Compression::kNone;
  } else if (media_type != kOciLayerGzip) {
    return absl::UnimplementedError(absl::StrCat("media type \"", media_type,
                                                 "\" is not supported for a new layer: ", kOciLayer, " and ",
                                                 kOciLayerGzip, " are"));
  }
  if (request.has_source_date_epoch()) options.newest = metadata::FromProto(request.source_date_epoch());
  const metadata::Scope scope = ScopeOf(call);
  const std::string ref = request.ref().empty() ? NewRef() : request.ref();
  GANTRY_ASSIGN_OR_RETURN(auto writer, content_.OpenWriter(scope, {.ref = ref}));
  GANTRY_RETURN_IF_ERROR(writer->Truncate(0));  // what an earlier attempt of that ref left
  int64_t size = 0;
  auto made = diff::Compute(FromProto(request.left()), FromProto(request.right()), options,
                            [&writer, &size](absl::string_view bytes) {
                              size += static_cast<int64_t>(bytes.size());
                              return writer->Write(bytes);
                            });
  if (!made.ok()) {
    writer.reset();
    (void)content_.Abort(scope, ref);
    return made.status();
  }
  metadata::Labels labels = request.labels();
  if (media_type != kOciLayer) labels[kUncompressedLabel] = made->uncompressed.ToString();
  const content::Digest digest = writer->CurrentDigest();
  const absl::Status committed = writer->Commit(size, digest, labels).status();
  // The same layer was made before: it is given again, with the labels of now.
  if (absl::IsAlreadyExists(committed)) {
    metadata::ContentInfo info;
    info.set_digest(digest.ToString());
    *info.mutable_labels() = labels;
    std::vector<std::string> paths;
    for (const auto& [key, value] : labels) paths.push_back(absl::StrCat("labels.", key));
    if (!paths.empty()) GANTRY_RETURN_IF_ERROR(content_.Update(scope, info, paths).status());
  } else if (!committed.ok()) {
    return committed;
  }
  response->mutable_diff()->set_media_type(media_type);
  response->mutable_diff()->set_digest(digest.ToString());
  response->mutable_diff()->set_size(size);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* DiffService::Apply(grpc::CallbackServerContext* context,
                                             const api::ApplyRequest* request, api::ApplyResponse* response) {
  return server::RunUnary(bulk_, context, kRequired, request, response,
                          [this](const CallContext& call, const auto& request, auto* response) {
                            return DoApply(call, request, response);
                          });
}

grpc::ServerUnaryReactor* DiffService::Diff(grpc::CallbackServerContext* context,
                                            const api::DiffRequest* request, api::DiffResponse* response) {
  return server::RunUnary(bulk_, context, kRequired, request, response,
                          [this](const CallContext& call, const auto& request, auto* response) {
                            return DoDiff(call, request, response);
                          });
}

}  // namespace gantry::services
