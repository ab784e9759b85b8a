#include "runtime/plan/capabilities.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/oci/features.h"

namespace gantry::plan {
int CapabilityBit(absl::string_view name) {
  const std::vector<std::string>& names = oci::AllCapabilities();
  const auto found = std::find(names.begin(), names.end(), name);
  return found == names.end() ? -1 : static_cast<int>(found - names.begin());
}

std::string CapabilityName(int bit) {
  const std::vector<std::string>& names = oci::AllCapabilities();
  if (bit >= 0 && static_cast<size_t>(bit) < names.size()) return names[bit];
  return absl::StrCat("CAP_", bit);
}

}  // namespace gantry::plan
