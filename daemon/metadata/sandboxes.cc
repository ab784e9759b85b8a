#include "daemon/metadata/sandboxes.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/metadata/labels.h"
#include "daemon/metadata/schema.h"
#include "daemon/server/identifier.h"
#include "runtime/sys/status.h"

namespace gantry::metadata {
namespace {

absl::Status NoSuchSandbox(const Scope& scope, absl::string_view id) {
  return absl::NotFoundError(absl::StrCat("sandbox \"", id, "\" in namespace \"", scope.ns, "\": not found"));
}

absl::Status Validate(const Sandbox& sandbox) {
  GANTRY_RETURN_IF_ERROR(server::ValidateIdentifier("sandbox id", sandbox.sandbox_id()));
  for (const auto& [key, value] : sandbox.extensions()) {
    if (key.empty()) return absl::InvalidArgumentError("sandbox.Extensions: keys must not be zero-length");
  }
  return ValidateLabels("sandbox.Labels", sandbox.labels());
}

absl::Status ApplyPath(const std::string& path, const Sandbox& source, Sandbox* target) {
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
  } else if (path == "runtime") {
    *target->mutable_runtime() = source.runtime();
  } else if (path == "spec") {
    if (source.has_spec()) {
      *target->mutable_spec() = source.spec();
    } else {
      target->clear_spec();
    }
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot update \"", path, "\" field on sandbox \"", source.sandbox_id(), "\""));
  }
  return absl::OkStatus();
}

absl::Status ApplyAll(const Sandbox& source, Sandbox* target) {
  if (target->runtime().name() != source.runtime().name()) {
    return absl::InvalidArgumentError(
        absl::StrCat("sandbox \"", source.sandbox_id(), "\": sandbox.Runtime.Name field is immutable"));
  }
  for (const char* path : {"labels", "extensions", "spec", "runtime"}) {
    GANTRY_RETURN_IF_ERROR(ApplyPath(path, source, target));
  }
  return absl::OkStatus();
}

}  // namespace

std::optional<absl::string_view> SandboxField(const Sandbox& sandbox, filters::FieldPath path) {
  if (path[0] == "id") return filters::TextField(sandbox.sandbox_id());
  if (path[0] == "labels") return filters::LabelField(path.subspan(1), sandbox.labels());
  return std::nullopt;
}

absl::StatusOr<Sandbox> Sandboxes::Get(const Scope& scope, absl::string_view id) const {
  Sandbox sandbox;
  const absl::Status status =
      ReadRecord(*database_.records(), kObjectsFamily, SandboxKey(scope.ns, id), &sandbox);
  if (absl::IsNotFound(status)) return NoSuchSandbox(scope, id);
  GANTRY_RETURN_IF_ERROR(status);
  return sandbox;
}

absl::StatusOr<std::vector<Sandbox>> Sandboxes::List(const Scope& scope,
                                                     const filters::Filter& filter) const {
  std::vector<Sandbox> result;
  std::string position;
  GANTRY_RETURN_IF_ERROR(
      WalkRecords(*database_.records(), kObjectsFamily, SandboxesPrefix(scope.ns), &position,
                  [&](absl::string_view key, absl::string_view value) -> absl::StatusOr<bool> {
                    Sandbox sandbox;
                    GANTRY_RETURN_IF_ERROR(ParseRecord(key, value, &sandbox));
                    if (filter.Match([&](filters::FieldPath path) { return SandboxField(sandbox, path); })) {
                      result.push_back(std::move(sandbox));
                    }
                    return true;
                  }));
  return result;
}

absl::StatusOr<Sandbox> Sandboxes::Create(const Scope& scope, Sandbox sandbox) {
  GANTRY_RETURN_IF_ERROR(Validate(sandbox));
  const std::string key = SandboxKey(scope.ns, sandbox.sandbox_id());
  kv::Database& records = *database_.records();
  const auto lock = records.Lock({{std::string(kObjectsFamily), key}});
  const auto stored = records.Get(kObjectsFamily, key);
  if (stored.ok()) {
    return absl::AlreadyExistsError(absl::StrCat("sandbox \"", sandbox.sandbox_id(), "\": already exists"));
  }
  if (!absl::IsNotFound(stored.status())) return stored.status();
  DropEmptyLabels(sandbox.mutable_labels());
  *sandbox.mutable_created_at() = Now();
  *sandbox.mutable_updated_at() = sandbox.created_at();
  kv::WriteBatch batch;
  GANTRY_RETURN_IF_ERROR(database_.EnsureNamespace(scope.ns, &batch));
  batch.Put(kObjectsFamily, key, Encode(sandbox));
  GANTRY_RETURN_IF_ERROR(database_.Commit(batch, Change::kAddition));
  return sandbox;
}

absl::StatusOr<Sandbox> Sandboxes::Update(const Scope& scope, const Sandbox& sandbox,
                                          const std::vector<std::string>& paths) {
  if (sandbox.sandbox_id().empty()) return absl::InvalidArgumentError("must specify a sandbox id");
  const std::string key = SandboxKey(scope.ns, sandbox.sandbox_id());
  const auto lock = database_.records()->Lock({{std::string(kObjectsFamily), key}});
  GANTRY_ASSIGN_OR_RETURN(Sandbox updated, Get(scope, sandbox.sandbox_id()));
  if (paths.empty()) GANTRY_RETURN_IF_ERROR(ApplyAll(sandbox, &updated));
  for (const std::string& path : paths) GANTRY_RETURN_IF_ERROR(ApplyPath(path, sandbox, &updated));
  GANTRY_RETURN_IF_ERROR(Validate(updated));
  DropEmptyLabels(updated.mutable_labels());
  *updated.mutable_updated_at() = Now();
  kv::WriteBatch batch;
  batch.Put(kObjectsFamily, key, Encode(updated));
  GANTRY_RETURN_IF_ERROR(database_.Commit(batch, Change::kAddition));
  return updated;
}

absl::Status Sandboxes::Delete(const Scope& scope, absl::string_view id) {
  const std::string key = SandboxKey(scope.ns, id);
  kv::Database& records = *database_.records();
  const auto lock = records.Lock({{std::string(kObjectsFamily), key}});
  const auto stored = records.Get(kObjectsFamily, key);
  if (absl::IsNotFound(stored.status())) return NoSuchSandbox(scope, id);
  GANTRY_RETURN_IF_ERROR(stored.status());
  kv::WriteBatch batch;
  batch.Delete(kObjectsFamily, key);
  return database_.Commit(batch, Change::kRemoval);
}

}  // namespace gantry::metadata
