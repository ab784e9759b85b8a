// The rules of config-linux.md, "Control groups". What only the kernel can judge is left to it.
#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "runtime/oci/validate.h"
#include "runtime/sys/status.h"

namespace gantry::oci {
namespace {

using internal::CheckCpuList;
using internal::OneOf;
using internal::Quoted;
using internal::Violation;

absl::Status CheckDeviceRules(const std::vector<DeviceRule>& rules) {
  for (size_t i = 0; i < rules.size(); ++i) {
    const DeviceRule& rule = rules[i];
    const std::string name = absl::StrCat("devices[", i, "]");
    if (!OneOf(rule.type, {"", "a", "b", "c"})) {
      return Violation(name + ".type", absl::StrCat("must be a, b or c, found ", Quoted(rule.type)));
    }
    for (const std::optional<int64_t>& number : {rule.major, rule.minor}) {
      if (number.has_value() && (*number < -1 || *number > 0xffffffff)) {
        return Violation(name,
                         absl::StrCat("major and minor must be from -1 to 4294967295, found ", *number));
      }
    }
    if (rule.access.find_first_not_of("rwm") != std::string::npos) {
      return Violation(name + ".access",
                       absl::StrCat("must be made of r, w and m, found ", Quoted(rule.access)));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckMemory(const MemoryResources& memory) {
  const std::pair<absl::string_view, std::optional<int64_t>> limits[] = {
      {"memory.limit", memory.limit},
      {"memory.reservation", memory.reservation},
      {"memory.swap", memory.swap},
      {"memory.kernel", memory.kernel},
      {"memory.kernelTCP", memory.kernel_tcp}};
  for (const auto& [name, limit] : limits) {
    if (limit.has_value() && *limit < -1) {
      return Violation(name, absl::StrCat("must be a number of bytes, or -1 for no limit, found ", *limit));
    }
  }
  // Absent and 0 leave the kernel's value; swap counts memory and swap together.
  if (memory.limit.value_or(0) > 0 && memory.swap.value_or(0) > 0 && *memory.swap < *memory.limit) {
    return Violation("memory.swap",
                     absl::StrCat("is memory and swap together and must not be below memory.limit, found ",
                                  *memory.swap, " and ", *memory.limit));
  }
  if (memory.limit == -1 && memory.swap.value_or(-1) > 0) {
    return Violation("memory.swap", "must be -1 when memory.limit is");
  }
  if (memory.swappiness.has_value() && *memory.swappiness > 100) {
    return Violation("memory.swappiness", absl::StrCat("must be from 0 to 100, found ", *memory.swappiness));
  }
  return absl::OkStatus();
}

absl::Status CheckCpu(const CpuResources& cpu) {
  if (!cpu.cpus.empty()) GANTRY_RETURN_IF_ERROR(CheckCpuList("cpu.cpus", cpu.cpus));
  if (!cpu.mems.empty()) GANTRY_RETURN_IF_ERROR(CheckCpuList("cpu.mems", cpu.mems));
  if (cpu.idle.has_value() && *cpu.idle != 0 && *cpu.idle != 1) {
    return Violation("cpu.idle", absl::StrCat("must be 0 or 1, found ", *cpu.idle));
  }
  if (cpu.quota.has_value() && *cpu.quota < -1) {
    return Violation("cpu.quota",
                     absl::StrCat("must be microseconds, or -1 for no limit, found ", *cpu.quota));
  }
  return absl::OkStatus();
}

absl::Status CheckBlockIo(const BlockIoResources& io) {
  const auto check = [](absl::string_view field, const std::optional<uint16_t>& weight) -> absl::Status {
    if (weight.value_or(0) == 0 || (*weight >= 10 && *weight <= 1000)) return absl::OkStatus();
    return Violation(field, absl::StrCat("must be from 10 to 1000, found ", *weight));
  };
  GANTRY_RETURN_IF_ERROR(check("blockIO.weight", io.weight));
  GANTRY_RETURN_IF_ERROR(check("blockIO.leafWeight", io.leaf_weight));
  for (const WeightDevice& device : io.weight_device) {
    GANTRY_RETURN_IF_ERROR(check("blockIO.weightDevice", device.weight));
    GANTRY_RETURN_IF_ERROR(check("blockIO.weightDevice", device.leaf_weight));
  }
  return absl::OkStatus();
}

absl::Status CheckHugepages(const std::vector<HugepageLimit>& limits) {
  for (const HugepageLimit& limit : limits) {
    absl::string_view size = limit.page_size;
    const bool unit = absl::ConsumeSuffix(&size, "KB") || absl::ConsumeSuffix(&size, "MB") ||
                      absl::ConsumeSuffix(&size, "GB");
    if (!unit || size.empty() || size.size() > 9 || size[0] == '0' ||
        !std::all_of(size.begin(), size.end(), absl::ascii_isdigit)) {
      return Violation("hugepageLimits",
                       absl::StrCat("pageSize must be a size such as \"2MB\" or \"1GB\", found ",
                                    Quoted(limit.page_size)));
    }
  }
  return absl::OkStatus();
}

// A name that goes into the line "name value" of a control file.
bool IsWord(absl::string_view text) {
  return !text.empty() && text.size() <= 255 &&
         std::all_of(text.begin(), text.end(), [](char c) { return !absl::ascii_isspace(c) && c != '/'; });
}

absl::Status CheckUnified(const std::map<std::string, std::string>& unified) {
  for (const auto& [key, value] : unified) {
    // cgroup.procs, cgroup.kill and their kind are the runtime's business, not a limit.
    if (!IsWord(key) || key.find('.') == std::string::npos || key[0] == '.' ||
        absl::StartsWith(key, "cgroup.")) {
      return Violation(
          "unified", absl::StrCat("a key must be the name of a control file such as \"memory.high\", found ",
                                  Quoted(key)));
    }
    if (value.empty()) return Violation(absl::StrCat("unified.", key), "must not be empty");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateResources(const Resources& resources) {
  GANTRY_RETURN_IF_ERROR(internal::CheckCounts(resources));
  GANTRY_RETURN_IF_ERROR(CheckDeviceRules(resources.devices));
  if (resources.memory.has_value()) GANTRY_RETURN_IF_ERROR(CheckMemory(*resources.memory));
  if (resources.cpu.has_value()) GANTRY_RETURN_IF_ERROR(CheckCpu(*resources.cpu));
  if (resources.block_io.has_value()) GANTRY_RETURN_IF_ERROR(CheckBlockIo(*resources.block_io));
  GANTRY_RETURN_IF_ERROR(CheckHugepages(resources.hugepage_limits));
  if (resources.network.has_value()) {
    for (const InterfacePriority& priority : resources.network->priorities) {
      if (!internal::IsInterfaceName(priority.name)) {
        return Violation("network.priorities",
                         absl::StrCat("is no name of a network device: ", Quoted(priority.name)));
      }
    }
  }
  for (const auto& [device, limit] : resources.rdma) {
    if (!IsWord(device)) return Violation("rdma", absl::StrCat("is no name of a device: ", Quoted(device)));
    if (!limit.hca_handles.has_value() && !limit.hca_objects.has_value()) {
      return Violation(absl::StrCat("rdma.", device), "needs hcaHandles or hcaObjects");
    }
  }
  return CheckUnified(resources.unified);
}

}  // namespace gantry::oci
