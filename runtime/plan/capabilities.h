// Capability names (capabilities(7)) and their bits, after oci::AllCapabilities(). Pure.
#ifndef GANTRY_RUNTIME_PLAN_CAPABILITIES_H_
#define GANTRY_RUNTIME_PLAN_CAPABILITIES_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace gantry::plan {

// The bit number of "CAP_CHOWN", or -1 for an unknown name.
int CapabilityBit(absl::string_view name);
// "CAP_CHOWN"; "CAP_63" for a bit without a name.
std::string CapabilityName(int bit);

}  // namespace gantry::plan

#endif  // GANTRY_RUNTIME_PLAN_CAPABILITIES_H_
