#include <linux/mempolicy.h>

#include "absl/strings/str_cat.h"
#include "runtime/plan/bit_list.h"
#include "runtime/plan/builder.h"
#include "runtime/sys/status.h"

namespace gantry::plan {
namespace {

struct Name {
  const char* name;
  int value;
};

constexpr int kWeightedInterleave = 6;  // MPOL_WEIGHTED_INTERLEAVE (Linux 6.9), newer than our headers

constexpr Name kModes[] = {{"MPOL_DEFAULT", MPOL_DEFAULT},
                           {"MPOL_PREFERRED", MPOL_PREFERRED},
                           {"MPOL_BIND", MPOL_BIND},
                           {"MPOL_INTERLEAVE", MPOL_INTERLEAVE},
                           {"MPOL_LOCAL", MPOL_LOCAL},
                           {"MPOL_PREFERRED_MANY", MPOL_PREFERRED_MANY},
                           {"MPOL_WEIGHTED_INTERLEAVE", kWeightedInterleave}};

constexpr Name kFlags[] = {{"MPOL_F_STATIC_NODES", MPOL_F_STATIC_NODES},
                           {"MPOL_F_RELATIVE_NODES", MPOL_F_RELATIVE_NODES},
                           {"MPOL_F_NUMA_BALANCING", MPOL_F_NUMA_BALANCING}};

template <size_t N>
absl::StatusOr<int> Find(const Name (&names)[N], absl::string_view name, absl::string_view member) {
  for (const Name& known : names) {
    if (name == known.name) return known.value;
  }
  return absl::InvalidArgumentError(absl::StrCat(member, ": unknown name \"", name, "\""));
}

}  // namespace

absl::Status PlanMemoryPolicy(const oci::Linux& section, Builder* builder) {
  if (!section.memory_policy.has_value()) return absl::OkStatus();
  const oci::MemoryPolicy& policy = *section.memory_policy;
  SetMemoryPolicy operation;
  operation.name = policy.mode;
  GANTRY_ASSIGN_OR_RETURN(operation.mode, Find(kModes, policy.mode, "linux.memoryPolicy.mode"));
  for (const std::string& flag : policy.flags) {
    GANTRY_ASSIGN_OR_RETURN(const int bit, Find(kFlags, flag, "linux.memoryPolicy.flags"));
    operation.mode |= bit;
  }
  if (!policy.nodes.empty()) {
    GANTRY_ASSIGN_OR_RETURN(operation.nodes, ParseBitList(policy.nodes, "linux.memoryPolicy.nodes"));
  }
  builder->Child(std::move(operation));
  return absl::OkStatus();
}

}  // namespace gantry::plan
