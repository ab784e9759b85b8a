// How many there may be of each: what a container could use, not what a document can hold. Beyond them lie minutes of
// mounting or of compiling filters, and nothing that the kernel would take.
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "runtime/oci/validate.h"
#include "runtime/sys/status.h"

namespace gantry::oci::internal {
namespace {

constexpr size_t kMaxMounts = 4096;       // the kernel's own limit is 100000 a namespace, fs.mount-max
constexpr size_t kMaxHooks = 256;         // a process each
constexpr size_t kMaxDevices = 16384;     // a privileged container lists all of its host
constexpr size_t kMaxPaths = 4096;        // a mount each
constexpr size_t kMaxNamespaces = 8;      // one of each type
constexpr size_t kMaxMappings = 340;      // UID_GID_MAP_MAX_EXTENTS
constexpr size_t kMaxGroups = 65536;      // NGROUPS_MAX
constexpr size_t kMaxRules = 4096;        // a write each
constexpr size_t kMaxNames = 16384;       // of system calls, 400 are usual; the kernel has some 500
constexpr size_t kMaxConditioned = 2048;  // each takes two instructions at least, of BPF_MAXINSNS

absl::Status AtMost(absl::string_view field, size_t count, size_t limit) {
  if (count <= limit) return absl::OkStatus();
  return Violation(field, absl::StrCat("must have at most ", limit, " entries, found ", count));
}

absl::Status CheckSeccompCounts(const Seccomp& seccomp) {
  size_t names = 0, conditioned = 0;
  for (const SeccompSyscall& rule : seccomp.syscalls) {
    names += rule.names.size();
    if (!rule.args.empty()) conditioned += rule.names.size() * rule.args.size();
  }
  GANTRY_RETURN_IF_ERROR(AtMost("linux.seccomp.architectures", seccomp.architectures.size(), 64));
  GANTRY_RETURN_IF_ERROR(AtMost("linux.seccomp.syscalls: names", names, kMaxNames));
  return AtMost("linux.seccomp.syscalls: conditions on arguments", conditioned, kMaxConditioned);
}

}  // namespace

absl::Status CheckCounts(const Process& process) {
  GANTRY_RETURN_IF_ERROR(AtMost("user.additionalGids", process.user.additional_gids.size(), kMaxGroups));
  return AtMost("rlimits", process.rlimits.size(), 64);
}

absl::Status CheckCounts(const Resources& resources) {
  GANTRY_RETURN_IF_ERROR(AtMost("devices", resources.devices.size(), kMaxRules));
  GANTRY_RETURN_IF_ERROR(AtMost("hugepageLimits", resources.hugepage_limits.size(), kMaxRules));
  GANTRY_RETURN_IF_ERROR(AtMost("rdma", resources.rdma.size(), kMaxRules));
  GANTRY_RETURN_IF_ERROR(AtMost("unified", resources.unified.size(), kMaxRules));
  if (resources.network.has_value())
    GANTRY_RETURN_IF_ERROR(AtMost("network.priorities", resources.network->priorities.size(), kMaxRules));
  if (!resources.block_io.has_value()) return absl::OkStatus();
  const BlockIoResources& io = *resources.block_io;
  return AtMost("blockIO: devices",
                io.weight_device.size() + io.throttle_read_bps.size() + io.throttle_write_bps.size() +
                    io.throttle_read_iops.size() + io.throttle_write_iops.size(),
                kMaxRules);
}

absl::Status CheckCounts(const Spec& spec) {
  GANTRY_RETURN_IF_ERROR(AtMost("mounts", spec.mounts.size(), kMaxMounts));
  for (const Mount& mount : spec.mounts) {
    GANTRY_RETURN_IF_ERROR(AtMost("mounts: uidMappings", mount.uid_mappings.size(), kMaxMappings));
    GANTRY_RETURN_IF_ERROR(AtMost("mounts: gidMappings", mount.gid_mappings.size(), kMaxMappings));
    GANTRY_RETURN_IF_ERROR(AtMost("mounts: options", mount.options.size(), kMaxRules));
  }
  const Hooks& hooks = spec.hooks;
  for (const auto* kind : {&hooks.prestart, &hooks.create_runtime, &hooks.create_container,
                           &hooks.start_container, &hooks.poststart, &hooks.poststop}) {
    GANTRY_RETURN_IF_ERROR(AtMost("hooks of a kind", kind->size(), kMaxHooks));
  }
  if (!spec.linux.has_value()) return absl::OkStatus();
  const Linux& section = *spec.linux;
  GANTRY_RETURN_IF_ERROR(AtMost("linux.namespaces", section.namespaces.size(), kMaxNamespaces));
  GANTRY_RETURN_IF_ERROR(AtMost("linux.uidMappings", section.uid_mappings.size(), kMaxMappings));
  GANTRY_RETURN_IF_ERROR(AtMost("linux.gidMappings", section.gid_mappings.size(), kMaxMappings));
  GANTRY_RETURN_IF_ERROR(AtMost("linux.devices", section.devices.size(), kMaxDevices));
  GANTRY_RETURN_IF_ERROR(AtMost("linux.netDevices", section.net_devices.size(), kMaxRules));
  GANTRY_RETURN_IF_ERROR(AtMost("linux.sysctl", section.sysctl.size(), kMaxRules));
  GANTRY_RETURN_IF_ERROR(AtMost("linux.maskedPaths", section.masked_paths.size(), kMaxPaths));
  GANTRY_RETURN_IF_ERROR(AtMost("linux.readonlyPaths", section.readonly_paths.size(), kMaxPaths));
  return section.seccomp.has_value() ? CheckSeccompCounts(*section.seccomp) : absl::OkStatus();
}

}  // namespace gantry::oci::internal
