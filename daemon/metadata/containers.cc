#include "daemon/metadata/containers.h"

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/metadata/labels.h"
#include "daemon/metadata/schema.h"
#include "daemon/server/identifier.h"
#include "runtime/sys/status.h"

namespace gantry::metadata {
namespace {

absl::Status NoSuchContainer(const Scope& scope, absl::string_view id) {
  return absl::NotFoundError(
      absl::StrCat("container \"", id, "\" in namespace \"", scope.ns, "\": not found"));
}

absl::Status Validate(const Container& container) {
  GANTRY_RETURN_IF_ERROR(server::ValidateIdentifier("container id", container.id()));
  for (const auto& [key, value] : container.extensions()) {
    if (key.empty()) {
      return absl::InvalidArgumentError("container.Extensions: keys must not be zero-length");
    }
  }
  GANTRY_RETURN_IF_ERROR(ValidateLabels("container.Labels", container.labels()));
  if (container.runtime().name().empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("container \"", container.id(), "\": container.Runtime.Name must be set"));
  }
  if (!container.has_spec()) {
    return absl::InvalidArgumentError(
        absl::StrCat("container \"", container.id(), "\": container.Spec must be set"));
  }
  if (!container.snapshot_key().empty() && container.snapshotter().empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("container \"", container.id(),
                     "\": container.Snapshotter must be set if container.SnapshotKey is set"));
  }
  return absl::OkStatus();
}

absl::Status ApplyPath(const std::string& path, const Container& source, Container* target) {
  std::string key;
  if (ApplyLabelPath(path, source.labels(), target->mutable_labels())) return absl::OkStatus();
  if (PathKey(path, "extensions", &key)) {
    const auto it = source.extensions().find(key);
    if (it == source.extensions().end()) {
      target->mutable_extensions()->erase(key);
    } else {
      (*target->mutable_extensions())[key] = it->second;
    }
  } else if (path == "extensions") {
    *target->mutable_extensions() = source.extensions();
  } else if (path == "spec") {
    if (source.has_spec()) {
      *target->mutable_spec() = source.spec();
    } else {
      target->clear_spec();
    }
  } else if (path == "image") {
    target->set_image(source.image());
  } else if (path == "snapshotkey") {
    target->set_snapshot_key(source.snapshot_key());
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot update \"", path, "\" field on container \"", source.id(), "\""));
  }
  return absl::OkStatus();
}

absl::Status ApplyAll(const Container& source, Container* target) {
  if (target->snapshotter() != source.snapshotter()) {
    return absl::InvalidArgumentError(
        absl::StrCat("container \"", source.id(), "\": container.Snapshotter field is immutable"));
  }
  if (target->runtime().name() != source.runtime().name()) {
    return absl::InvalidArgumentError(
        absl::StrCat("container \"", source.id(), "\": container.Runtime.Name field is immutable"));
  }
  for (const char* path : {"labels", "spec", "extensions", "image", "snapshotkey"}) {
    GANTRY_RETURN_IF_ERROR(ApplyPath(path, source, target));
  }
  return absl::OkStatus();
}

}  // namespace

std::optional<absl::string_view> ContainerField(const Container& container, filters::FieldPath path) {
  if (path[0] == "id") return filters::TextField(container.id());
  if (path[0] == "image") return filters::TextField(container.image());
  if (path[0] == "runtime" && path.size() > 1 && path[1] == "name") {
    return filters::TextField(container.runtime().name());
  }
  if (path[0] == "labels") return filters::LabelField(path.subspan(1), container.labels());
  return std::nullopt;
}

absl::StatusOr<Container> Containers::Get(const Scope& scope, absl::string_view id) const {
  Container container;
  const absl::Status status =
      ReadRecord(*database_.records(), kObjectsFamily, ContainerKey(scope.ns, id), &container);
  if (absl::IsNotFound(status)) return NoSuchContainer(scope, id);
  GANTRY_RETURN_IF_ERROR(status);
  return container;
}

absl::StatusOr<std::vector<Container>> Containers::ListSome(const Scope& scope, const filters::Filter& filter,
                                                            size_t limit, std::string* position) const {
  std::vector<Container> result;
  GANTRY_RETURN_IF_ERROR(WalkRecords(
      *database_.records(), kObjectsFamily, ContainersPrefix(scope.ns), position,
      [&](absl::string_view key, absl::string_view value) -> absl::StatusOr<bool> {
        Container container;
        GANTRY_RETURN_IF_ERROR(ParseRecord(key, value, &container));
        if (filter.Match([&](filters::FieldPath path) { return ContainerField(container, path); })) {
          result.push_back(std::move(container));
        }
        return result.size() < limit;
      }));
  return result;
}

absl::StatusOr<std::vector<Container>> Containers::List(const Scope& scope,
                                                        const filters::Filter& filter) const {
  std::string position;
  return ListSome(scope, filter, std::numeric_limits<size_t>::max(), &position);
}

absl::StatusOr<Container> Containers::Create(const Scope& scope, Container container) {
  GANTRY_RETURN_IF_ERROR(Validate(container));
  const std::string key = ContainerKey(scope.ns, container.id());
  kv::Database& records = *database_.records();
  const auto lock = records.Lock({{std::string(kObjectsFamily), key}});
  auto stored = records.Get(kObjectsFamily, key);
  if (stored.ok()) {
    return absl::AlreadyExistsError(absl::StrCat("container \"", container.id(), "\": already exists"));
  }
  if (!absl::IsNotFound(stored.status())) return stored.status();
  DropEmptyLabels(container.mutable_labels());
  *container.mutable_created_at() = Now();
  *container.mutable_updated_at() = container.created_at();
  kv::WriteBatch batch;
  GANTRY_RETURN_IF_ERROR(database_.EnsureNamespace(scope.ns, &batch));
  batch.Put(kObjectsFamily, key, Encode(container));
  GANTRY_RETURN_IF_ERROR(database_.Commit(batch, Change::kAddition));
  return container;
}

absl::StatusOr<Container> Containers::Update(const Scope& scope, const Container& container,
                                             const std::vector<std::string>& paths) {
  if (container.id().empty()) return absl::InvalidArgumentError("must specify a container id");
  const std::string key = ContainerKey(scope.ns, container.id());
  kv::Database& records = *database_.records();
  const auto lock = records.Lock({{std::string(kObjectsFamily), key}});
  GANTRY_ASSIGN_OR_RETURN(Container updated, Get(scope, container.id()));
  if (paths.empty()) GANTRY_RETURN_IF_ERROR(ApplyAll(container, &updated));
  for (const std::string& path : paths) GANTRY_RETURN_IF_ERROR(ApplyPath(path, container, &updated));
  GANTRY_RETURN_IF_ERROR(Validate(updated));
  DropEmptyLabels(updated.mutable_labels());
  *updated.mutable_updated_at() = Now();
  kv::WriteBatch batch;
  batch.Put(kObjectsFamily, key, Encode(updated));
  // An update may take a reference away (labels, the snapshot key).
  GANTRY_RETURN_IF_ERROR(database_.Commit(batch, Change::kAddition));
  return updated;
}

absl::Status Containers::Delete(const Scope& scope, absl::string_view id) {
  const std::string key = ContainerKey(scope.ns, id);
  kv::Database& records = *database_.records();
  const auto lock = records.Lock({{std::string(kObjectsFamily), key}});
  auto stored = records.Get(kObjectsFamily, key);
  if (absl::IsNotFound(stored.status())) return NoSuchContainer(scope, id);
  GANTRY_RETURN_IF_ERROR(stored.status());
  kv::WriteBatch batch;
  batch.Delete(kObjectsFamily, key);
  return database_.Commit(batch, Change::kRemoval);
}

}  // namespace gantry::metadata
