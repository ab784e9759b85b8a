// `-info`: what this runtime is and can do.
#ifndef GANTRY_SHIM_BOOTSTRAP_INFO_H_
#define GANTRY_SHIM_BOOTSTRAP_INFO_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::shim {

// A serialized containerd.types.RuntimeInfo. `input`: empty, or an Any of options, which is returned in it.
absl::StatusOr<std::string> RuntimeInformation(absl::string_view input);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_BOOTSTRAP_INFO_H_
