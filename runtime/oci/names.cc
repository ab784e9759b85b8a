// The names of the enumerations in JSON.
#include "runtime/oci/spec.h"
#include "runtime/oci/state.h"

namespace gantry::oci {

absl::string_view NamespaceTypeName(NamespaceType type) {
  static constexpr const char* kNames[] = {"pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"};
  return kNames[static_cast<int>(type)];
}

absl::string_view SeccompActionName(SeccompAction action) {
  static constexpr const char* kNames[] = {"SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP",
                                           "SCMP_ACT_ERRNO",       "SCMP_ACT_TRACE",        "SCMP_ACT_ALLOW",
                                           "SCMP_ACT_LOG",         "SCMP_ACT_NOTIFY"};
  return kNames[static_cast<int>(action)];
}

absl::string_view SeccompOpName(SeccompOp op) {
  static constexpr const char* kNames[] = {"SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE",       "SCMP_CMP_EQ",
                                           "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"};
  return kNames[static_cast<int>(op)];
}

absl::string_view StatusName(Status status) {
  static constexpr const char* kNames[] = {"creating", "created", "running", "paused", "stopped"};
  return kNames[static_cast<int>(status)];
}

}  // namespace gantry::oci
