// The device policy as an eBPF program on a version 2 cgroup (bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE).
#ifndef GANTRY_RUNTIME_CGROUP_DEVICE_PROGRAM_H_
#define GANTRY_RUNTIME_CGROUP_DEVICE_PROGRAM_H_

#include <linux/bpf.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "runtime/cgroup/plan.h"

namespace gantry::cgroup {

// Pure: the instructions that answer 1 (allowed) or 0 for a bpf_cgroup_dev_ctx.
std::vector<bpf_insn> DeviceProgram(const DevicePolicy& policy);

// Loads the program, attaches it to the cgroup directory `path` and takes off the ones of ours that were attached
// there before (others' stay: all must allow), in this order: access is never wider than the old and the new policy together allow.
absl::Status AttachDevicePolicy(const std::string& path, const DevicePolicy& policy);

}  // namespace gantry::cgroup

#endif  // GANTRY_RUNTIME_CGROUP_DEVICE_PROGRAM_H_
