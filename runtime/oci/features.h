// The features document (features.md, features-linux.md): what `gantry-oci features` prints and containerd's
// RuntimeInfo carries. Pure and thread-safe.
#ifndef GANTRY_RUNTIME_OCI_FEATURES_H_
#define GANTRY_RUNTIME_OCI_FEATURES_H_

#include <string>
#include <vector>

#include "runtime/oci/spec.h"

namespace gantry::oci {

// The parts of the document that other rooms know better.
struct FeatureFacts {
  std::vector<std::string> mount_options;  // what the mount parser understands
  bool apparmor = true;                    // built in; the host may still lack it, as with the others
  bool selinux = true;
  bool idmap_mounts = true;
  bool net_devices = true;
  bool intel_rdt = true;
  bool memory_policy = true;
  bool systemd_cgroup = true;
};

// All capabilities of capabilities(7), as Linux 6 numbers them: a name's index is its bit.
const std::vector<std::string>& AllCapabilities();

std::string FeaturesJson(const FeatureFacts& facts, bool pretty = true);

}  // namespace gantry::oci

#endif  // GANTRY_RUNTIME_OCI_FEATURES_H_
