#include "daemon/metadata/schema.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "runtime/sys/status.h"

namespace gantry::metadata {
namespace {

constexpr absl::string_view kVersionKey = "version";

std::string Prefix(absl::string_view kind, absl::string_view ns) {
  return ns.empty() ? absl::StrCat(kind, "/") : absl::StrCat(kind, "/", ns, "/");
}

// A lease's id may hold a '/', which would end it too early in a resource's key.
std::string Escape(absl::string_view id) { return absl::StrReplaceAll(id, {{"%", "%25"}, {"/", "%2F"}}); }

// What turns version N-1 into N: it adds its changes to the batch that also writes the new version.
using Migration = absl::Status (*)(const kv::Snapshot& before, kv::WriteBatch* batch);
struct Step {
  int to_version;
  Migration migrate;
};
// Version 1 is the first: nothing to migrate yet. A new version adds {2, &...} here.
constexpr Step kSteps[] = {{1, nullptr}};

}  // namespace

std::vector<std::string> Families() {
  return {std::string(kMetaFamily), std::string(kObjectsFamily), std::string(kLeasesFamily),
          std::string(kContentFamily), std::string(kSnapshotsFamily)};
}

std::string NamespaceKey(absl::string_view ns) { return absl::StrCat(kNamespaces, ns); }
std::string ContainersPrefix(absl::string_view ns) { return Prefix("container", ns); }
std::string SandboxesPrefix(absl::string_view ns) { return Prefix("sandbox", ns); }
std::string ImagesPrefix(absl::string_view ns) { return Prefix("image", ns); }
std::string LeasesPrefix(absl::string_view ns) { return Prefix("lease", ns); }
std::string BlobsPrefix(absl::string_view ns) { return Prefix("blob", ns); }
std::string IngestsPrefix(absl::string_view ns) { return Prefix("ingest", ns); }
std::string ResourcesPrefix(absl::string_view ns, absl::string_view lease) {
  return lease.empty() ? Prefix("resource", ns) : absl::StrCat(Prefix("resource", ns), Escape(lease), "/");
}

std::string ContainerKey(absl::string_view ns, absl::string_view id) {
  return absl::StrCat(ContainersPrefix(ns), id);
}
std::string SandboxKey(absl::string_view ns, absl::string_view id) {
  return absl::StrCat(SandboxesPrefix(ns), id);
}
std::string ImageKey(absl::string_view ns, absl::string_view name) {
  return absl::StrCat(ImagesPrefix(ns), name);
}
std::string LeaseKey(absl::string_view ns, absl::string_view id) {
  return absl::StrCat(LeasesPrefix(ns), Escape(id));
}
std::string ResourceKey(absl::string_view ns, absl::string_view lease, absl::string_view type,
                        absl::string_view id) {
  return absl::StrCat(ResourcesPrefix(ns, lease), type, ":", id);
}
std::string BlobKey(absl::string_view ns, absl::string_view digest) {
  return absl::StrCat(BlobsPrefix(ns), digest);
}
std::string IngestKey(absl::string_view ns, absl::string_view ref) {
  return absl::StrCat(IngestsPrefix(ns), ref);
}

KeyParts SplitKey(absl::string_view key) {
  KeyParts parts;
  const size_t kind = key.find('/');
  parts.kind = key.substr(0, kind);
  if (kind == absl::string_view::npos) return parts;
  key.remove_prefix(kind + 1);
  const size_t ns = key.find('/');
  parts.ns = key.substr(0, ns);
  if (ns != absl::string_view::npos) parts.rest = key.substr(ns + 1);
  return parts;
}

ResourceParts SplitResource(absl::string_view rest) {
  const size_t colon = rest.find(':');
  if (colon == absl::string_view::npos) return {rest, {}};
  return {rest.substr(0, colon), rest.substr(colon + 1)};
}

std::string IngestRef(absl::string_view ns, absl::string_view ref) { return absl::StrCat(ns, "/", ref); }

absl::Status CheckVersion(kv::Database* database) {
  int version = 0;
  auto stored = database->Get(kMetaFamily, kVersionKey);
  if (stored.ok()) {
    if (!absl::SimpleAtoi(*stored, &version) || version < 1) {
      return absl::DataLossError(absl::StrCat("metadata: the schema version is \"", *stored, "\""));
    }
  } else if (!absl::IsNotFound(stored.status())) {
    return stored.status();
  }
  if (version > kSchemaVersion) {
    return absl::FailedPreconditionError(absl::StrCat("metadata: its schema version ", version,
                                                      " is newer than this program's ", kSchemaVersion,
                                                      ": start the newer program, or choose another --root"));
  }
  for (const Step& step : kSteps) {
    if (step.to_version <= version) continue;
    kv::WriteBatch batch;
    if (step.migrate != nullptr) {
      GANTRY_RETURN_IF_ERROR(step.migrate(*database->NewSnapshot(), &batch));
    }
    batch.Put(kMetaFamily, kVersionKey, absl::StrCat(step.to_version));
    GANTRY_RETURN_IF_ERROR(database->Write(batch, kv::Durability::kSynced));
  }
  return absl::OkStatus();
}

}  // namespace gantry::metadata
