// Namespaces: they keep the objects of different clients apart, and carry labels.
//
// A namespace is made by Create, or by its first object. Its name is an identifier (see
// ValidateIdentifier). Thread-safe. Source: containerd's core/metadata/namespaces.go (behaviour).
#ifndef GANTRY_DAEMON_METADATA_NAMESPACES_H_
#define GANTRY_DAEMON_METADATA_NAMESPACES_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "api/proto/containerd/services/namespaces/v1/namespace.pb.h"
#include "daemon/metadata/database.h"

namespace gantry::metadata {

using Namespace = containerd::services::namespaces::v1::Namespace;

class Namespaces {
 public:
  // What else a namespace holds besides the records of this room (snapshots), as words for an error message;
  // empty: nothing.
  using OtherHoldings = std::function<absl::StatusOr<std::vector<std::string>>(absl::string_view ns)>;

  explicit Namespaces(Database* database, OtherHoldings others = nullptr)
      : database_(*database), others_(std::move(others)) {}

  // A namespace that is not there has no labels: containerd's clients rely on that not being an error.
  absl::StatusOr<Namespace> Get(absl::string_view name) const;
  absl::StatusOr<std::vector<Namespace>> List() const;
  // INVALID_ARGUMENT for a bad name or label, ALREADY_EXISTS.
  absl::StatusOr<Namespace> Create(Namespace ns);
  // `paths`: "labels.<key>" each; empty replaces all labels. Makes the namespace if it is not there.
  absl::StatusOr<Namespace> Update(const Namespace& ns, const std::vector<std::string>& paths);
  // NOT_FOUND; FAILED_PRECONDITION, listing what it holds, unless it is empty. Leases and ingests are no
  // obstacle: they go with it.
  absl::Status Delete(absl::string_view name);

 private:
  absl::StatusOr<std::vector<std::string>> Holdings(absl::string_view name) const;

  Database& database_;
  const OtherHoldings others_;
};

}  // namespace gantry::metadata

#endif  // GANTRY_DAEMON_METADATA_NAMESPACES_H_
