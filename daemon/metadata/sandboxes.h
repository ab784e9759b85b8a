// Sandbox records: what a client asked for, from which a sandbox controller makes instances. No process belongs to one.
//
// Thread-safe. Source: containerd's core/metadata/sandbox.go (behaviour).
#ifndef GANTRY_DAEMON_METADATA_SANDBOXES_H_
#define GANTRY_DAEMON_METADATA_SANDBOXES_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "api/proto/containerd/types/sandbox.pb.h"
#include "daemon/filters/filter.h"
#include "daemon/metadata/database.h"

namespace gantry::metadata {

using Sandbox = containerd::types::Sandbox;

class Sandboxes {
 public:
  explicit Sandboxes(Database* database) : database_(*database) {}

  absl::StatusOr<Sandbox> Get(const Scope& scope, absl::string_view id) const;
  // In the order of their ids.
  absl::StatusOr<std::vector<Sandbox>> List(const Scope& scope, const filters::Filter& filter) const;

  // INVALID_ARGUMENT: a bad id or label, an extension without a name.
  absl::StatusOr<Sandbox> Create(const Scope& scope, Sandbox sandbox);
  // `paths`: labels, labels.<key>, extensions, extensions.<key>, runtime, spec; empty stands for all of these, and then
  // the runtime's name must be as it was.
  absl::StatusOr<Sandbox> Update(const Scope& scope, const Sandbox& sandbox,
                                 const std::vector<std::string>& paths);
  absl::Status Delete(const Scope& scope, absl::string_view id);

 private:
  Database& database_;
};

// What filters see: id, labels.<key>.
std::optional<absl::string_view> SandboxField(const Sandbox& sandbox, filters::FieldPath path);

}  // namespace gantry::metadata

#endif  // GANTRY_DAEMON_METADATA_SANDBOXES_H_
