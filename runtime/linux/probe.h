// What this host can do: found with a few system calls, for planning.
#ifndef GANTRY_RUNTIME_LINUX_PROBE_H_
#define GANTRY_RUNTIME_LINUX_PROBE_H_

#include "absl/status/statusor.h"
#include "runtime/plan/facts.h"

namespace gantry::linux {

absl::StatusOr<plan::HostFacts> ProbeHost();

}  // namespace gantry::linux

#endif  // GANTRY_RUNTIME_LINUX_PROBE_H_
