// The maps of a new user namespace (user_namespaces(7)).
#ifndef GANTRY_RUNTIME_LINUX_ID_MAPS_H_
#define GANTRY_RUNTIME_LINUX_ID_MAPS_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "runtime/plan/plan.h"

namespace gantry::linux {

// Writes both maps of the process `pid`, by ourselves or by the programs that the operation names. `proc` is the
// host's procfs. NOT_FOUND: such a program is not installed. PERMISSION_DENIED: it refuses, usually because
// /etc/subuid or /etc/subgid does not give the range to us; the message has its words.
absl::Status WriteIdMaps(int proc, pid_t pid, const plan::WriteIdMaps& maps);

}  // namespace gantry::linux

#endif  // GANTRY_RUNTIME_LINUX_ID_MAPS_H_
