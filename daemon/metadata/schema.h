// Every key that the daemon keeps, drawn as a tree, and its version.
//
// One record store (content/kv) holds all objects whose changes must agree; a change of several is one synced
// batch. Keys are built by the functions below and nowhere else. A namespace never holds a '/', so the first
// one after it ends it; what follows may be any bytes. Values are messages of the API (api/proto), so that
// what is kept is what is answered; an unknown field of a newer version survives.
//
//   family     key                                        value
//   meta       version                                    kSchemaVersion as decimal text
//   objects    namespace/<ns>                             containerd.services.namespaces.v1.Namespace
//              container/<ns>/<id>                        containerd.services.containers.v1.Container
//              sandbox/<ns>/<id>                          containerd.types.Sandbox
//              image/<ns>/<name>                          containerd.services.images.v1.Image
//   leases     lease/<ns>/<lease>                         containerd.services.leases.v1.Lease; in <lease> '%'
//                                                         and '/' are written %25 and %2F
//              resource/<ns>/<lease>/<type>:<id>          empty; <type> is content, ingests, images or
//                                                         snapshots/<snapshotter> and holds no ':'
//   content    blob/<ns>/<digest>                         containerd.services.content.v1.Info
//              ingest/<ns>/<ref>                          containerd.services.content.v1.Status:
//                                                           expected   the blob of another namespace that
//                                                                      this ingest will become, if any
//                                                           updated_at when it may be thrown away; absent:
//                                                                      its lease decides
//   snapshots  the snapshotters' own: snapshotter/records/record.h
//
// The blob's file and the ingest's files lie in content/ (content/local_store.h), under the names <digest>
// and IngestRef(ns, ref). A file without a record is garbage; a record without a file is damage.
//
// A newer program meets an older version by its migrations, in steps of one version, each one batch that also
// writes the new version. An older program refuses a newer version.
//
// Thread-safe: constants and pure functions.
#ifndef GANTRY_DAEMON_METADATA_SCHEMA_H_
#define GANTRY_DAEMON_METADATA_SCHEMA_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "content/kv/kv.h"

namespace gantry::metadata {

inline constexpr int kSchemaVersion = 1;

inline constexpr absl::string_view kMetaFamily = "meta";
inline constexpr absl::string_view kObjectsFamily = "objects";
inline constexpr absl::string_view kLeasesFamily = "leases";
inline constexpr absl::string_view kContentFamily = "content";
inline constexpr absl::string_view kSnapshotsFamily = "snapshots";

// For kv::Options.
std::vector<std::string> Families();

std::string NamespaceKey(absl::string_view ns);
std::string ContainerKey(absl::string_view ns, absl::string_view id);
std::string SandboxKey(absl::string_view ns, absl::string_view id);
std::string ImageKey(absl::string_view ns, absl::string_view name);
std::string LeaseKey(absl::string_view ns, absl::string_view id);
std::string ResourceKey(absl::string_view ns, absl::string_view lease, absl::string_view type,
                        absl::string_view id);
std::string BlobKey(absl::string_view ns, absl::string_view digest);
std::string IngestKey(absl::string_view ns, absl::string_view ref);

// The prefixes of all keys of a kind: with an empty `ns` of every namespace.
inline constexpr absl::string_view kNamespaces = "namespace/";
std::string ContainersPrefix(absl::string_view ns);
std::string SandboxesPrefix(absl::string_view ns);
std::string ImagesPrefix(absl::string_view ns);
std::string LeasesPrefix(absl::string_view ns);
std::string ResourcesPrefix(absl::string_view ns, absl::string_view lease);
std::string BlobsPrefix(absl::string_view ns);
std::string IngestsPrefix(absl::string_view ns);

// The parts of a key after its kind, for walks over every namespace: "image/ns/a/b" -> {"ns", "a/b"}.
struct KeyParts {
  absl::string_view kind;
  absl::string_view ns;
  absl::string_view rest;
};
KeyParts SplitKey(absl::string_view key);

// The parts of what follows the lease in a resource's key.
struct ResourceParts {
  absl::string_view type;
  absl::string_view id;
};
ResourceParts SplitResource(absl::string_view rest);

// The name of an ingest in the blob store, which knows no namespaces.
std::string IngestRef(absl::string_view ns, absl::string_view ref);

// Writes the version into a new database, migrates an older one. FAILED_PRECONDITION for a newer one.
absl::Status CheckVersion(kv::Database* database);

}  // namespace gantry::metadata

#endif  // GANTRY_DAEMON_METADATA_SCHEMA_H_
