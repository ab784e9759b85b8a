// Checkpoints as blobs of the content store, in containerd's form: the directory of criu's files as a tar archive, and
// the container's runtime specification as a google.protobuf.Any.
//
// Thread-safe. Calls take as long as the files are big: for the pool of long work.
#ifndef GANTRY_DAEMON_SERVICES_CHECKPOINT_IMAGES_H_
#define GANTRY_DAEMON_SERVICES_CHECKPOINT_IMAGES_H_

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/proto/containerd/types/descriptor.pb.h"
#include "daemon/metadata/containers.h"
#include "daemon/metadata/content.h"

namespace gantry::services {

inline constexpr char kCheckpointType[] = "application/vnd.containerd.container.criu.checkpoint.criu.tar";
inline constexpr char kCheckpointSpecType[] =
    "application/vnd.containerd.container.checkpoint.config.v1+proto";

class CheckpointImages {
 public:
  // `directory` (absolute; made when needed, 0700) holds checkpoints on their way to the store. What a former daemon
  // left in it is removed. The stores outlive this object.
  CheckpointImages(metadata::ContentStore* content, metadata::Containers* containers, std::string directory);

  // An empty directory for criu's files; Discard it.
  absl::StatusOr<std::string> MakeDirectory();
  void Discard(const std::string& directory);

  // Writes the files of `directory` and the specification of `container` to the store: two descriptors.
  absl::StatusOr<std::vector<containerd::types::Descriptor>> Store(const metadata::Scope& scope,
                                                                   const std::string& container,
                                                                   const std::string& directory);
  // The files of a checkpoint into the existing `directory`. INVALID_ARGUMENT for a descriptor of another type.
  absl::Status Unpack(const metadata::Scope& scope, const containerd::types::Descriptor& checkpoint,
                      const std::string& directory);

 private:
  metadata::ContentStore& content_;
  metadata::Containers& containers_;
  const std::string directory_;
  std::atomic<uint64_t> next_{0};
};

}  // namespace gantry::services

#endif  // GANTRY_DAEMON_SERVICES_CHECKPOINT_IMAGES_H_
