#include "daemon/metadata/leases.h"

#include <sys/random.h>

#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "content/digest.h"
#include "daemon/metadata/labels.h"
#include "daemon/metadata/schema.h"
#include "daemon/server/identifier.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/status.h"

namespace gantry::metadata {
namespace {

constexpr size_t kMaxLeaseIdBytes = 1024;

kv::RecordName LeaseName(const Scope& scope, absl::string_view id) {
  return {std::string(kLeasesFamily), LeaseKey(scope.ns, id)};
}

// Of containerd's form: the nanoseconds of this second, and chance.
std::string RandomId() {
  unsigned char chance[3] = {};
  // Never fails for so few bytes (getrandom(2)).
  if (getrandom(chance, sizeof chance, 0) != sizeof chance) chance[0] = 1;
  const std::string bytes(reinterpret_cast<const char*>(chance), sizeof chance);
  const absl::Time now = sys::WallNow();
  const absl::Duration fraction = now - absl::FromUnixSeconds(absl::ToUnixSeconds(now));
  return absl::StrCat(absl::ToInt64Nanoseconds(fraction), "-", absl::WebSafeBase64Escape(bytes));
}

absl::Status NoSuchLease(absl::string_view id) {
  return absl::NotFoundError(absl::StrCat("lease \"", id, "\": not found"));
}

absl::Status CheckExists(const kv::Database& records, const Scope& scope, absl::string_view id) {
  const absl::Status status = records.Get(kLeasesFamily, LeaseKey(scope.ns, id)).status();
  return absl::IsNotFound(status) ? NoSuchLease(id) : status;
}

absl::Status ValidateResource(const Resource& resource) {
  const std::string& type = resource.type();
  if (type == kContentResource) {
    auto digest = content::Digest::Parse(resource.id());
    if (!digest.ok()) return sys::Annotate(digest.status(), "content resource id");
    return absl::OkStatus();
  }
  if (type == kIngestResource || type == kImageResource) {
    if (resource.id().empty()) return absl::InvalidArgumentError(absl::StrCat(type, " resource id is empty"));
    return absl::OkStatus();
  }
  if (absl::StartsWith(type, kSnapshotResource)) {
    GANTRY_RETURN_IF_ERROR(server::ValidateIdentifier(
        "snapshotter of the resource", absl::string_view(type).substr(kSnapshotResource.size())));
    if (resource.id().empty()) return absl::InvalidArgumentError(absl::StrCat(type, " resource id is empty"));
    return absl::OkStatus();
  }
  for (absl::string_view known :
       {absl::string_view("snapshots"), kContentResource, kIngestResource, kImageResource}) {
    if (type == known || absl::StartsWith(type, absl::StrCat(known, "/"))) {
      return absl::InvalidArgumentError(absl::StrCat(
          "invalid resource type \"", type, "\": content, ingests, images or snapshots/<snapshotter>"));
    }
  }
  return absl::UnimplementedError(absl::StrCat("resource type \"", type, "\" not supported yet"));
}

std::optional<absl::string_view> LeaseField(const Lease& lease, filters::FieldPath path) {
  if (path[0] == "id") return filters::TextField(lease.id());
  if (path[0] == "labels") return filters::LabelField(path.subspan(1), lease.labels());
  return std::nullopt;
}

}  // namespace

Resource MakeResource(absl::string_view type, absl::string_view id) {
  Resource resource;
  resource.set_type(std::string(type));
  resource.set_id(std::string(id));
  return resource;
}

absl::StatusOr<Lease> Leases::Create(const Scope& scope, Lease lease) {
  if (lease.id().empty()) lease.set_id(RandomId());
  if (lease.id().size() > kMaxLeaseIdBytes) {
    return absl::InvalidArgumentError(absl::StrCat("lease id \"", lease.id().substr(0, 100), "…\" has ",
                                                   lease.id().size(), " bytes; at most ", kMaxLeaseIdBytes,
                                                   " are allowed"));
  }
  GANTRY_RETURN_IF_ERROR(ValidateLabels("lease.Labels", lease.labels()));
  kv::Database& records = *database_.records();
  const kv::RecordName name = LeaseName(scope, lease.id());
  const auto lock = records.Lock({name});
  auto stored = records.Get(name.family, name.key);
  if (stored.ok())
    return absl::AlreadyExistsError(absl::StrCat("lease \"", lease.id(), "\": already exists"));
  if (!absl::IsNotFound(stored.status())) return stored.status();
  DropEmptyLabels(lease.mutable_labels());
  *lease.mutable_created_at() = Now();
  kv::WriteBatch batch;
  GANTRY_RETURN_IF_ERROR(database_.EnsureNamespace(scope.ns, &batch));
  batch.Put(name.family, name.key, Encode(lease));
  GANTRY_RETURN_IF_ERROR(database_.Commit(batch, Change::kAddition));
  return lease;
}

absl::Status Leases::Delete(const Scope& scope, absl::string_view id) {
  kv::Database& records = *database_.records();
  const kv::RecordName name = LeaseName(scope, id);
  const auto lock = records.Lock({name});
  GANTRY_RETURN_IF_ERROR(CheckExists(records, scope, id));
  kv::WriteBatch batch;
  batch.Delete(name.family, name.key);
  const auto it = records.Scan(kLeasesFamily, ResourcesPrefix(scope.ns, id));
  for (; it->Valid(); it->Next()) batch.Delete(kLeasesFamily, it->key());
  GANTRY_RETURN_IF_ERROR(it->status());
  return database_.Commit(batch, Change::kRemoval);
}

absl::StatusOr<std::vector<Lease>> Leases::List(const Scope& scope, const filters::Filter& filter) const {
  std::vector<Lease> result;
  const auto it = database_.records()->Scan(kLeasesFamily, LeasesPrefix(scope.ns));
  for (; it->Valid(); it->Next()) {
    Lease lease;
    GANTRY_RETURN_IF_ERROR(ParseRecord(it->key(), it->value(), &lease));
    if (filter.Match([&](filters::FieldPath path) { return LeaseField(lease, path); })) {
      result.push_back(std::move(lease));
    }
  }
  GANTRY_RETURN_IF_ERROR(it->status());
  return result;
}

absl::Status Leases::AddResource(const Scope& scope, absl::string_view id, const Resource& resource) {
  kv::Database& records = *database_.records();
  const auto lock = records.Lock({LeaseName(scope, id)});
  GANTRY_RETURN_IF_ERROR(CheckExists(records, scope, id));
  GANTRY_RETURN_IF_ERROR(ValidateResource(resource));
  kv::WriteBatch batch;
  batch.Put(kLeasesFamily, ResourceKey(scope.ns, id, resource.type(), resource.id()), "");
  return database_.Commit(batch, Change::kAddition);
}

absl::Status Leases::DeleteResource(const Scope& scope, absl::string_view id, const Resource& resource) {
  kv::Database& records = *database_.records();
  const auto lock = records.Lock({LeaseName(scope, id)});
  GANTRY_RETURN_IF_ERROR(CheckExists(records, scope, id));
  GANTRY_RETURN_IF_ERROR(ValidateResource(resource));
  kv::WriteBatch batch;
  batch.Delete(kLeasesFamily, ResourceKey(scope.ns, id, resource.type(), resource.id()));
  return database_.Commit(batch, Change::kRemoval);
}

absl::StatusOr<std::vector<Resource>> Leases::ListResources(const Scope& scope, absl::string_view id) const {
  const auto snapshot = database_.records()->NewSnapshot();
  const absl::Status exists = snapshot->Get(kLeasesFamily, LeaseKey(scope.ns, id)).status();
  if (absl::IsNotFound(exists)) return NoSuchLease(id);
  GANTRY_RETURN_IF_ERROR(exists);
  std::vector<Resource> result;
  const std::string prefix = ResourcesPrefix(scope.ns, id);
  const auto it = snapshot->Scan(kLeasesFamily, prefix);
  for (; it->Valid(); it->Next()) {
    const ResourceParts parts = SplitResource(it->key().substr(prefix.size()));
    result.push_back(MakeResource(parts.type, parts.id));
  }
  GANTRY_RETURN_IF_ERROR(it->status());
  return result;
}

absl::Status Leases::AddTo(kv::WriteBatch* batch, const kv::Database& records, const Scope& scope,
                           absl::string_view type, absl::string_view id) {
  if (scope.lease.empty()) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(CheckExists(records, scope, scope.lease));
  batch->Put(kLeasesFamily, ResourceKey(scope.ns, scope.lease, type, id), "");
  return absl::OkStatus();
}

void Leases::RemoveFrom(kv::WriteBatch* batch, const Scope& scope, absl::string_view type,
                        absl::string_view id) {
  if (!scope.lease.empty()) batch->Delete(kLeasesFamily, ResourceKey(scope.ns, scope.lease, type, id));
}

std::vector<kv::RecordName> Leases::WithLease(std::vector<kv::RecordName> names, const Scope& scope) {
  if (!scope.lease.empty()) names.push_back(LeaseName(scope, scope.lease));
  return names;
}

}  // namespace gantry::metadata
