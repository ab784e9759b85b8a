// Image records: a name, and the descriptor of the manifest or index that it stands for.
//
// An image is a root for the garbage collector, until the time of its label containerd.io/gc.expire, if it
// has one. Thread-safe. Source: containerd's core/metadata/images.go (behaviour).
#ifndef GANTRY_DAEMON_METADATA_IMAGES_H_
#define GANTRY_DAEMON_METADATA_IMAGES_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "api/proto/containerd/services/images/v1/images.pb.h"
#include "daemon/filters/filter.h"
#include "daemon/metadata/database.h"

namespace gantry::metadata {

using Image = containerd::services::images::v1::Image;

inline constexpr absl::string_view kExpireLabel = "containerd.io/gc.expire";

class Images {
 public:
  explicit Images(Database* database) : database_(*database) {}

  absl::StatusOr<Image> Get(const Scope& scope, absl::string_view name) const;
  absl::StatusOr<std::vector<Image>> List(const Scope& scope, const filters::Filter& filter) const;

  // `epoch` stands in for the time of now, for reproducible images. INVALID_ARGUMENT: no name, a bad label, a
  // target without a valid digest, a size and a media type.
  absl::StatusOr<Image> Create(const Scope& scope, Image image, std::optional<absl::Time> epoch);
  // `paths`: labels, labels.<key>, target, annotations, annotations.<key>; empty replaces everything.
  absl::StatusOr<Image> Update(const Scope& scope, const Image& image, const std::vector<std::string>& paths,
                               std::optional<absl::Time> epoch);
  // With `target_digest`, only an image that has this target: NOT_FOUND otherwise.
  absl::Status Delete(const Scope& scope, absl::string_view name, absl::string_view target_digest);

 private:
  absl::Status Write(const Scope& scope, const Image& image);

  Database& database_;
};

}  // namespace gantry::metadata

#endif  // GANTRY_DAEMON_METADATA_IMAGES_H_
