// Leases: they keep what they name, and all that this refers to, from the garbage collector.
//
// A lease with the label containerd.io/gc.expire (RFC 3339) stops counting at that time; one with
// containerd.io/gc.flat keeps only what it names itself. A call whose header names a lease ties what it makes
// to it, in the same batch: see AddTo.
//
// Thread-safe. Source: containerd's core/metadata/leases.go (behaviour).
#ifndef GANTRY_DAEMON_METADATA_LEASES_H_
#define GANTRY_DAEMON_METADATA_LEASES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "api/proto/containerd/services/leases/v1/leases.pb.h"
#include "daemon/filters/filter.h"
#include "daemon/metadata/database.h"

namespace gantry::metadata {

using Lease = containerd::services::leases::v1::Lease;
using Resource = containerd::services::leases::v1::Resource;

inline constexpr absl::string_view kContentResource = "content";
inline constexpr absl::string_view kIngestResource = "ingests";
inline constexpr absl::string_view kImageResource = "images";
inline constexpr absl::string_view kSnapshotResource = "snapshots/";  // and the snapshotter's name

Resource MakeResource(absl::string_view type, absl::string_view id);

class Leases {
 public:
  explicit Leases(Database* database) : database_(*database) {}

  // An empty id gets a random one. ALREADY_EXISTS; INVALID_ARGUMENT: too long an id, or a bad label.
  absl::StatusOr<Lease> Create(const Scope& scope, Lease lease);
  absl::Status Delete(const Scope& scope, absl::string_view id);
  absl::StatusOr<std::vector<Lease>> List(const Scope& scope, const filters::Filter& filter) const;

  // NOT_FOUND for the lease; the resource itself need not be there. INVALID_ARGUMENT for a bad resource,
  // UNIMPLEMENTED for a type that we don't know.
  absl::Status AddResource(const Scope& scope, absl::string_view id, const Resource& resource);
  absl::Status DeleteResource(const Scope& scope, absl::string_view id, const Resource& resource);
  absl::StatusOr<std::vector<Resource>> ListResources(const Scope& scope, absl::string_view id) const;

  // Ties a resource that the same batch makes to the lease of the call. Nothing happens without a lease;
  // NOT_FOUND if it does not exist. The caller holds a RecordLock that comes from WithLease, until the batch
  // is written, so that the lease cannot go meanwhile.
  static absl::Status AddTo(kv::WriteBatch* batch, const kv::Database& records, const Scope& scope,
                            absl::string_view type, absl::string_view id);
  // The opposite, for what the same batch deletes. No lock is needed.
  static void RemoveFrom(kv::WriteBatch* batch, const Scope& scope, absl::string_view type,
                         absl::string_view id);
  // `names` and, if the call has a lease, the lease's: for kv::Database::Lock.
  static std::vector<kv::RecordName> WithLease(std::vector<kv::RecordName> names, const Scope& scope);

 private:
  Database& database_;
};

}  // namespace gantry::metadata

#endif  // GANTRY_DAEMON_METADATA_LEASES_H_
