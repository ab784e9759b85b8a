#include "shim/bootstrap/info.h"

#include "api/any/any.h"
#include "api/proto/containerd/types/introspection.pb.h"
#include "runtime/oci/features.h"

namespace gantry::shim {

absl::StatusOr<std::string> RuntimeInformation(absl::string_view input) {
  containerd::types::RuntimeInfo info;
  info.set_name("io.containerd.gantry.v2");
  info.mutable_version()->set_version(GANTRY_VERSION);
  if (!input.empty() &&
      !info.mutable_options()->ParseFromArray(input.data(), static_cast<int>(input.size()))) {
    return absl::InvalidArgumentError("-info: standard input is no google.protobuf.Any");
  }
  any::PackJson(any::kRuntimeFeatures, oci::FeaturesJson({}, /*pretty=*/false), info.mutable_features());
  return info.SerializeAsString();
}

}  // namespace gantry::shim
