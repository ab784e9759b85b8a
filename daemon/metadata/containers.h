// Container records: what a client asked for, from which tasks are made. No process belongs to a record.
//
// Thread-safe. Source: containerd's core/metadata/containers.go (behaviour).
#ifndef GANTRY_DAEMON_METADATA_CONTAINERS_H_
#define GANTRY_DAEMON_METADATA_CONTAINERS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "api/proto/containerd/services/containers/v1/containers.pb.h"
#include "daemon/filters/filter.h"
#include "daemon/metadata/database.h"

namespace gantry::metadata {

using Container = containerd::services::containers::v1::Container;

class Containers {
 public:
  explicit Containers(Database* database) : database_(*database) {}

  absl::StatusOr<Container> Get(const Scope& scope, absl::string_view id) const;
  // Up to `limit` containers that match, after `position` (empty: from the start), in the order of their ids.
  // `position` is empty again at the end. So a stream holds nothing between its messages.
  absl::StatusOr<std::vector<Container>> ListSome(const Scope& scope, const filters::Filter& filter,
                                                  size_t limit, std::string* position) const;
  absl::StatusOr<std::vector<Container>> List(const Scope& scope, const filters::Filter& filter) const;

  // INVALID_ARGUMENT: a bad id or label, no runtime name, no spec, a snapshot key without a snapshotter.
  absl::StatusOr<Container> Create(const Scope& scope, Container container);
  // `paths`: labels, labels.<key>, spec, extensions, extensions.<key>, image, snapshotkey; empty stands for
  // all of these, and then the snapshotter and the runtime's name must be as they were.
  absl::StatusOr<Container> Update(const Scope& scope, const Container& container,
                                   const std::vector<std::string>& paths);
  absl::Status Delete(const Scope& scope, absl::string_view id);

 private:
  Database& database_;
};

// What filters see: id, image, runtime.name, labels.<key>.
std::optional<absl::string_view> ContainerField(const Container& container, filters::FieldPath path);

}  // namespace gantry::metadata

#endif  // GANTRY_DAEMON_METADATA_CONTAINERS_H_
