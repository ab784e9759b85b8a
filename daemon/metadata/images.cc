#include "daemon/metadata/images.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "content/digest.h"
#include "daemon/metadata/labels.h"
#include "daemon/metadata/leases.h"
#include "daemon/metadata/schema.h"
#include "runtime/sys/status.h"

namespace gantry::metadata {
namespace {

absl::Status NoSuchImage(absl::string_view name) {
  return absl::NotFoundError(absl::StrCat("image \"", name, "\": not found"));
}

absl::Status Validate(const Image& image) {
  if (image.name().empty()) return absl::InvalidArgumentError("image name must not be empty");
  GANTRY_RETURN_IF_ERROR(ValidateLabels("image.Labels", image.labels()));
  const std::string what = absl::StrCat("image \"", image.name(), "\": target");
  auto digest = content::Digest::Parse(image.target().digest());
  if (!digest.ok()) return sys::Annotate(digest.status(), what);
  if (image.target().size() <= 0) {
    return absl::InvalidArgumentError(absl::StrCat(what, ".Size must be greater than zero"));
  }
  if (image.target().media_type().empty()) {
    return absl::InvalidArgumentError(absl::StrCat(what, ".MediaType must be set"));
  }
  return absl::OkStatus();
}

std::optional<absl::string_view> ImageField(const Image& image, filters::FieldPath path) {
  if (path[0] == "name") return filters::TextField(image.name());
  if (path[0] == "target" && path.size() > 1) {
    if (path[1] == "digest") return filters::TextField(image.target().digest());
    if (path[1] == "mediatype") return filters::TextField(image.target().media_type());
  }
  if (path[0] == "labels") return filters::LabelField(path.subspan(1), image.labels());
  if (path[0] == "annotations") return filters::LabelField(path.subspan(1), image.target().annotations());
  return std::nullopt;
}

absl::Status ApplyPath(const std::string& path, const Image& source, Image* target) {
  std::string key;
  if (ApplyLabelPath(path, source.labels(), target->mutable_labels())) return absl::OkStatus();
  if (path == "target") {
    *target->mutable_target() = source.target();
  } else if (path == "annotations") {
    *target->mutable_target()->mutable_annotations() = source.target().annotations();
  } else if (PathKey(path, "annotations", &key)) {
    const auto it = source.target().annotations().find(key);
    (*target->mutable_target()->mutable_annotations())[key] =
        it == source.target().annotations().end() ? std::string() : it->second;
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot update \"", path, "\" field on image \"", source.name(), "\""));
  }
  return absl::OkStatus();
}

kv::RecordName RecordNameOf(const Scope& scope, absl::string_view name) {
  return {std::string(kObjectsFamily), ImageKey(scope.ns, name)};
}

void Normalize(Image* image) {
  DropEmptyLabels(image->mutable_labels());
  DropEmptyLabels(image->mutable_target()->mutable_annotations());
}

}  // namespace

absl::StatusOr<Image> Images::Get(const Scope& scope, absl::string_view name) const {
  Image image;
  const absl::Status status =
      ReadRecord(*database_.records(), kObjectsFamily, ImageKey(scope.ns, name), &image);
  if (absl::IsNotFound(status)) return NoSuchImage(name);
  GANTRY_RETURN_IF_ERROR(status);
  return image;
}

absl::StatusOr<std::vector<Image>> Images::List(const Scope& scope, const filters::Filter& filter) const {
  std::vector<Image> result;
  const auto it = database_.records()->Scan(kObjectsFamily, ImagesPrefix(scope.ns));
  for (; it->Valid(); it->Next()) {
    Image image;
    GANTRY_RETURN_IF_ERROR(ParseRecord(it->key(), it->value(), &image));
    if (filter.Match([&](filters::FieldPath path) { return ImageField(image, path); })) {
      result.push_back(std::move(image));
    }
  }
  GANTRY_RETURN_IF_ERROR(it->status());
  return result;
}

absl::Status Images::Write(const Scope& scope, const Image& image) {
  kv::WriteBatch batch;
  GANTRY_RETURN_IF_ERROR(database_.EnsureNamespace(scope.ns, &batch));
  // An image is a root by itself; only one that may expire can need the lease.
  if (image.labels().contains(std::string(kExpireLabel))) {
    GANTRY_RETURN_IF_ERROR(Leases::AddTo(&batch, *database_.records(), scope, kImageResource, image.name()));
  }
  batch.Put(kObjectsFamily, ImageKey(scope.ns, image.name()), Encode(image));
  return database_.Commit(batch, Change::kAddition);
}

absl::StatusOr<Image> Images::Create(const Scope& scope, Image image, std::optional<absl::Time> epoch) {
  GANTRY_RETURN_IF_ERROR(Validate(image));
  kv::Database& records = *database_.records();
  const kv::RecordName name = RecordNameOf(scope, image.name());
  const auto lock = records.Lock(Leases::WithLease({name}, scope));
  auto stored = records.Get(name.family, name.key);
  if (stored.ok())
    return absl::AlreadyExistsError(absl::StrCat("image \"", image.name(), "\": already exists"));
  if (!absl::IsNotFound(stored.status())) return stored.status();
  Normalize(&image);
  *image.mutable_created_at() = epoch.has_value() ? ToProto(*epoch) : Now();
  *image.mutable_updated_at() = image.created_at();
  GANTRY_RETURN_IF_ERROR(Write(scope, image));
  return image;
}

absl::StatusOr<Image> Images::Update(const Scope& scope, const Image& image,
                                     const std::vector<std::string>& paths, std::optional<absl::Time> epoch) {
  if (image.name().empty()) return absl::InvalidArgumentError("image name is required for update");
  const auto lock = database_.records()->Lock(Leases::WithLease({RecordNameOf(scope, image.name())}, scope));
  GANTRY_ASSIGN_OR_RETURN(Image updated, Get(scope, image.name()));
  const google::protobuf::Timestamp created = updated.created_at();
  if (paths.empty()) updated = image;
  for (const std::string& path : paths) GANTRY_RETURN_IF_ERROR(ApplyPath(path, image, &updated));
  GANTRY_RETURN_IF_ERROR(Validate(updated));
  Normalize(&updated);
  *updated.mutable_created_at() = created;
  *updated.mutable_updated_at() = epoch.has_value() ? ToProto(*epoch) : Now();
  GANTRY_RETURN_IF_ERROR(Write(scope, updated));
  return updated;
}

absl::Status Images::Delete(const Scope& scope, absl::string_view name, absl::string_view target_digest) {
  const kv::RecordName record = RecordNameOf(scope, name);
  const auto lock = database_.records()->Lock({record});
  GANTRY_ASSIGN_OR_RETURN(const Image image, Get(scope, name));
  if (!target_digest.empty() && image.target().digest() != target_digest) {
    return absl::NotFoundError(absl::StrCat("image \"", name, "\" has target ", image.target().digest(),
                                            ", not ", target_digest, ": not found"));
  }
  kv::WriteBatch batch;
  batch.Delete(record.family, record.key);
  Leases::RemoveFrom(&batch, scope, kImageResource, name);
  return database_.Commit(batch, Change::kRemoval);
}

}  // namespace gantry::metadata
