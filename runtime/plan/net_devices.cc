#include "absl/strings/str_cat.h"
#include "runtime/plan/builder.h"

namespace gantry::plan {

absl::Status PlanNetDevices(const oci::Linux& section, Builder* builder) {
  if (section.net_devices.empty()) return absl::OkStatus();
  if (!builder->new_network && builder->joined_network == kNoSlot) {
    return absl::InvalidArgumentError("linux.netDevices: needs a network namespace in linux.namespaces");
  }
  for (const auto& [name, device] : section.net_devices) {
    builder->Parent(MoveNetDevice{name, device.name.empty() ? name : device.name, builder->joined_network});
  }
  builder->Child(AwaitNetDevices{});
  return absl::OkStatus();
}

}  // namespace gantry::plan
