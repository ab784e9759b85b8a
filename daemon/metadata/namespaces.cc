#include "daemon/metadata/namespaces.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "daemon/metadata/labels.h"
#include "daemon/metadata/schema.h"
#include "daemon/server/identifier.h"
#include "runtime/sys/status.h"

namespace gantry::metadata {
namespace {

bool AnyRecord(const kv::Database& records, absl::string_view family, const std::string& prefix) {
  return records.Scan(family, prefix)->Valid();
}

absl::Status DeleteAll(const kv::Database& records, absl::string_view family, const std::string& prefix,
                       kv::WriteBatch* batch) {
  const auto it = records.Scan(family, prefix);
  for (; it->Valid(); it->Next()) batch->Delete(family, it->key());
  return it->status();
}

}  // namespace

absl::StatusOr<Namespace> Namespaces::Get(absl::string_view name) const {
  Namespace ns;
  const absl::Status status = ReadRecord(*database_.records(), kObjectsFamily, NamespaceKey(name), &ns);
  if (!status.ok() && !absl::IsNotFound(status)) return status;
  ns.set_name(std::string(name));
  return ns;
}

absl::StatusOr<std::vector<Namespace>> Namespaces::List() const {
  std::vector<Namespace> result;
  const auto it = database_.records()->Scan(kObjectsFamily, kNamespaces);
  for (; it->Valid(); it->Next()) {
    GANTRY_RETURN_IF_ERROR(ParseRecord(it->key(), it->value(), &result.emplace_back()));
  }
  GANTRY_RETURN_IF_ERROR(it->status());
  return result;
}

absl::StatusOr<Namespace> Namespaces::Create(Namespace ns) {
  GANTRY_RETURN_IF_ERROR(server::ValidateIdentifier("namespace", ns.name()));
  GANTRY_RETURN_IF_ERROR(ValidateLabels("namespace.Labels", ns.labels()));
  // Not a RecordLock: any object's creation may make the namespace at the same time.
  const auto lock = database_.records()->LockExclusively();
  const std::string key = NamespaceKey(ns.name());
  auto stored = database_.records()->Get(kObjectsFamily, key);
  if (stored.ok())
    return absl::AlreadyExistsError(absl::StrCat("namespace \"", ns.name(), "\": already exists"));
  if (!absl::IsNotFound(stored.status())) return stored.status();
  DropEmptyLabels(ns.mutable_labels());
  kv::WriteBatch batch;
  batch.Put(kObjectsFamily, key, Encode(ns));
  GANTRY_RETURN_IF_ERROR(database_.Commit(batch, Change::kAddition));
  return ns;
}

absl::StatusOr<Namespace> Namespaces::Update(const Namespace& ns, const std::vector<std::string>& paths) {
  GANTRY_RETURN_IF_ERROR(server::ValidateIdentifier("namespace", ns.name()));
  const auto lock = database_.records()->LockExclusively();
  GANTRY_ASSIGN_OR_RETURN(Namespace updated, Get(ns.name()));
  for (const std::string& path : paths) {
    std::string key;
    if (!PathKey(path, "labels", &key)) {
      return absl::InvalidArgumentError(
          absl::StrCat("cannot update \"", path, "\" field on namespace \"", ns.name(), "\""));
    }
    ApplyLabelPath(path, ns.labels(), updated.mutable_labels());
  }
  if (paths.empty()) *updated.mutable_labels() = ns.labels();
  GANTRY_RETURN_IF_ERROR(ValidateLabels("namespace.Labels", updated.labels()));
  DropEmptyLabels(updated.mutable_labels());
  kv::WriteBatch batch;
  batch.Put(kObjectsFamily, NamespaceKey(ns.name()), Encode(updated));
  GANTRY_RETURN_IF_ERROR(database_.Commit(batch, Change::kAddition));
  return updated;
}

absl::StatusOr<std::vector<std::string>> Namespaces::Holdings(absl::string_view name) const {
  const kv::Database& records = *database_.records();
  std::vector<std::string> holdings;
  if (AnyRecord(records, kObjectsFamily, ImagesPrefix(name))) holdings.push_back("images");
  if (AnyRecord(records, kContentFamily, BlobsPrefix(name))) holdings.push_back("blobs");
  if (AnyRecord(records, kObjectsFamily, ContainersPrefix(name))) holdings.push_back("containers");
  if (AnyRecord(records, kObjectsFamily, SandboxesPrefix(name))) holdings.push_back("sandboxes");
  if (others_) {
    GANTRY_ASSIGN_OR_RETURN(std::vector<std::string> others, others_(name));
    holdings.insert(holdings.end(), others.begin(), others.end());
  }
  return holdings;
}

absl::Status Namespaces::Delete(absl::string_view name) {
  GANTRY_RETURN_IF_ERROR(server::ValidateIdentifier("namespace", name));
  const auto lock = database_.records()->LockExclusively();
  GANTRY_ASSIGN_OR_RETURN(const std::vector<std::string> holdings, Holdings(name));
  if (!holdings.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        "namespace \"", name, "\" must be empty, but it still has ", absl::StrJoin(holdings, ", ")));
  }
  const kv::Database& records = *database_.records();
  auto stored = records.Get(kObjectsFamily, NamespaceKey(name));
  if (absl::IsNotFound(stored.status())) {
    return absl::NotFoundError(absl::StrCat("namespace \"", name, "\": not found"));
  }
  GANTRY_RETURN_IF_ERROR(stored.status());
  kv::WriteBatch batch;
  batch.Delete(kObjectsFamily, NamespaceKey(name));
  GANTRY_RETURN_IF_ERROR(DeleteAll(records, kLeasesFamily, LeasesPrefix(name), &batch));
  GANTRY_RETURN_IF_ERROR(DeleteAll(records, kLeasesFamily, ResourcesPrefix(name, ""), &batch));
  GANTRY_RETURN_IF_ERROR(DeleteAll(records, kContentFamily, IngestsPrefix(name), &batch));
  GANTRY_RETURN_IF_ERROR(database_.Commit(batch, Change::kRemoval));
  database_.ForgetNamespace(name);
  return absl::OkStatus();
}

}  // namespace gantry::metadata
