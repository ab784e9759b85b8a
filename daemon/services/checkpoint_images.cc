#include "daemon/services/checkpoint_images.h"

#include <fcntl.h>
#include <unistd.h>

#include <functional>
#include <memory>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "content/digest.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/file.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"
#include "snapshotter/diff/apply.h"
#include "snapshotter/diff/compute.h"

namespace gantry::services {
namespace {

using containerd::types::Descriptor;

// Writes a blob of `type` under a name that nobody else uses. `fill` is given the place for its bytes.
absl::StatusOr<Descriptor> WriteBlob(metadata::ContentStore& content, const metadata::Scope& scope,
                                     const std::string& type,
                                     const std::function<absl::Status(const diff::Sink&)>& fill) {
  static std::atomic<uint64_t> counter{0};
  const std::string ref =
      absl::StrCat("checkpoint-", ::getpid(), "-", sys::MonotonicNanos(), "-", counter.fetch_add(1));
  GANTRY_ASSIGN_OR_RETURN(auto writer, content.OpenWriter(scope, {.ref = ref}));
  int64_t size = 0;
  const absl::Status filled = fill([&writer, &size](absl::string_view bytes) {
    size += static_cast<int64_t>(bytes.size());
    return writer->Write(bytes);
  });
  if (!filled.ok()) {
    writer.reset();
    content.Abort(scope, ref).IgnoreError();
    return filled;
  }
  const content::Digest digest = writer->CurrentDigest();
  const absl::Status committed = writer->Commit(size, digest, {}).status();
  if (!committed.ok() && !absl::IsAlreadyExists(committed)) return committed;
  Descriptor descriptor;
  descriptor.set_media_type(type);
  descriptor.set_digest(digest.ToString());
  descriptor.set_size(size);
  return descriptor;
}

std::vector<snapshotter::Mount> TreeAt(const std::string& directory) {
  snapshotter::Mount mount;
  mount.type = "bind";
  mount.source = directory;
  mount.options = {"rbind", "ro"};
  return {mount};
}

}  // namespace

CheckpointImages::CheckpointImages(metadata::ContentStore* content, metadata::Containers* containers,
                                   std::string directory)
    : content_(*content), containers_(*containers), directory_(std::move(directory)) {
  const absl::Status removed = sys::RemoveAllAt(AT_FDCWD, directory_);
  if (!removed.ok()) log::Warn("old checkpoints stay", {{"error", std::string(removed.message())}});
}

absl::StatusOr<std::string> CheckpointImages::MakeDirectory() {
  GANTRY_RETURN_IF_ERROR(sys::MkdirAll(directory_, 0700));
  const std::string directory = absl::StrCat(directory_, "/", next_++);
  GANTRY_RETURN_IF_ERROR(sys::MkdirAll(directory, 0700));
  return directory;
}

void CheckpointImages::Discard(const std::string& directory) {
  const absl::Status removed = sys::RemoveAllAt(AT_FDCWD, directory);
  if (!removed.ok()) log::Warn("a checkpoint's files stay", {{"error", std::string(removed.message())}});
}

absl::StatusOr<std::vector<Descriptor>> CheckpointImages::Store(const metadata::Scope& scope,
                                                                const std::string& container,
                                                                const std::string& directory) {
  GANTRY_ASSIGN_OR_RETURN(const metadata::Container record, containers_.Get(scope, container));
  GANTRY_ASSIGN_OR_RETURN(const std::string empty, MakeDirectory());
  const absl::Cleanup remove = [this, &empty] { Discard(empty); };
  GANTRY_ASSIGN_OR_RETURN(Descriptor files,
                          WriteBlob(content_, scope, kCheckpointType, [&](const diff::Sink& sink) {
                            diff::ComputeOptions options;
                            options.compression = diff::Compression::kNone;
                            return diff::Compute(TreeAt(empty), TreeAt(directory), options, sink).status();
                          }));
  GANTRY_ASSIGN_OR_RETURN(Descriptor spec,
                          WriteBlob(content_, scope, kCheckpointSpecType, [&record](const diff::Sink& sink) {
                            return sink(record.spec().SerializeAsString());
                          }));
  return std::vector<Descriptor>{std::move(files), std::move(spec)};
}

absl::Status CheckpointImages::Unpack(const metadata::Scope& scope, const Descriptor& checkpoint,
                                      const std::string& directory) {
  if (checkpoint.media_type() != kCheckpointType) {
    return absl::InvalidArgumentError(absl::StrCat("checkpoint: media type \"", checkpoint.media_type(),
                                                   "\" is none; ", kCheckpointType, " is"));
  }
  GANTRY_ASSIGN_OR_RETURN(const content::Digest digest, content::Digest::Parse(checkpoint.digest()));
  GANTRY_ASSIGN_OR_RETURN(auto blob, content_.Open(scope, digest));
  diff::TargetOptions target;
  target.directory = directory;
  const auto applied = diff::Apply(std::make_unique<diff::BlobSource>(std::move(blob)), std::move(target));
  return sys::Annotate(applied.status(), absl::StrCat("cannot unpack checkpoint ", digest.ToString()));
}

}  // namespace gantry::services
