// Internal to runtime/container: what Checkpoint and Restore tell criu alike.
#ifndef GANTRY_RUNTIME_CONTAINER_CRIU_COMMON_H_
#define GANTRY_RUNTIME_CONTAINER_CRIU_COMMON_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/container/checkpoint.h"
#include "runtime/container/criu.h"
#include "runtime/oci/spec.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::container {

inline constexpr char kDescriptorsFile[] = "descriptors.json";

// The directories that criu works in, open for as long as it does.
struct CriuDirectories {
  sys::UniqueFd images, work;
  std::string log_path;
};

// Opens them, and fills in what is the same both ways. `log_file` is a plain name. `make`: image_path may be made.
absl::StatusOr<CriuDirectories> PrepareCriu(const CriuSettings& settings, const oci::Spec& spec,
                                            const std::string& log_file, bool make, CriuOpts* opts);

// The key under which criu knows a namespace that is not its business: "extRootNetNS".
std::string ExternalNamespaceKey(oci::NamespaceType type);

// The bind mounts of the configuration, and those that stand for the cgroup mount of version 1 without a cgroup
// namespace: destination and source.
struct ExternalMount {
  std::string destination, source;
};
std::vector<ExternalMount> ExternalMounts(const oci::Spec& spec, const std::string& bundle,
                                          const cgroup::Cgroup& cgroup);

}  // namespace gantry::container

#endif  // GANTRY_RUNTIME_CONTAINER_CRIU_COMMON_H_
