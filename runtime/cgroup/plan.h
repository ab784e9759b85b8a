// From linux.cgroupsPath and linux.resources to the directories and file writes that make them true. Pure: it
// reads the specification and the Host, touches nothing, and its result is plain data that can be printed.
//
//   cgroup::Plan plan = *cgroup::PlanCreate(host, where, resources);
//   Cgroup::Create(plan)   (cgroup.h) runs it
//
// A controller that the host lacks is left out, unless a limit asks for it: then the plan is a
// FAILED_PRECONDITION that names the controller and the member of the specification. Only what the
// specification asks for is written. Thread-safe.
#ifndef GANTRY_RUNTIME_CGROUP_PLAN_H_
#define GANTRY_RUNTIME_CGROUP_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/cgroup/host.h"
#include "runtime/oci/spec.h"

namespace gantry::cgroup {

// One directory of the container, in one hierarchy. Missing parents are made too.
struct Directory {
  int version = 1;
  std::string controllers;  // "cpu,cpuacct", "name=systemd"; empty for v2
  std::string mount_point;  // "/sys/fs/cgroup/cpu,cpuacct"
  std::string path;         // absolute: mount_point + the container's path; never outside of mount_point
  // v1 cpuset: each new directory gets its parent's CPUs and nodes first, without them it takes no process.
  bool init_cpuset = false;
  // v2: what cgroup.subtree_control of all parents must list ("cpu", "memory"), where the root has it.
  std::vector<std::string> enable;

  friend bool operator==(const Directory&, const Directory&) = default;
};

// One write(2) of `value` to `file` of directories[directory].
struct FileWrite {
  size_t directory = 0;
  std::string file;     // "memory.limit_in_bytes"
  std::string value;    // "67108864"
  std::string setting;  // whence: "linux.resources.memory.limit"

  friend bool operator==(const FileWrite&, const FileWrite&) = default;
};

// A device rule after the defaults were added, in the order in which they apply.
struct DeviceRule {
  bool allow = false;
  char type = 'a';     // 'a', 'b', 'c'
  int64_t major = -1;  // -1: any
  int64_t minor = -1;
  std::string access;  // of "rwm", never empty

  friend bool operator==(const DeviceRule&, const DeviceRule&) = default;
};

struct Plan {
  std::vector<Directory> directories;  // v1 ones first; the v2 one (at most one) last
  std::vector<FileWrite> writes;       // in this order
  // v2 only: the rules that an eBPF program on directories.back() enforces. Empty: no program. On v1 they
  // are among the writes.
  std::vector<DeviceRule> device_program;
};

// Where a container's cgroup is to be.
struct Placement {
  std::string cgroups_path;  // linux.cgroupsPath; relative: below the caller's cgroup; empty: `id`
  std::string id;
};

// All of it for a new container. `resources` may be null: then the cgroup is made and the devices are
// limited to the default ones.
absl::StatusOr<Plan> PlanCreate(const Host& host, const Placement& placement,
                                const oci::Resources* resources);

// The writes that change an existing container (its directories, from Create) to `resources`; what that
// leaves out stays. `current` answers for the present value of a v1 file where the order of writes depends on
// it (memory against memory+swap); it may answer an empty string for "unknown". Device rules are not changed
// unless resources.devices is not empty.
using CurrentValue = std::string (*)(const Directory& directory, absl::string_view file);
absl::StatusOr<Plan> PlanUpdate(const std::vector<Directory>& directories, const oci::Resources& resources,
                                CurrentValue current);

// The rules that hold in a container: deny all, then those of the specification, then the devices that
// every container has (config-linux.md, "Default Devices", and mknod of anything).
std::vector<DeviceRule> EffectiveDeviceRules(const std::vector<oci::DeviceRule>& rules);

// cpu.shares (2 to 262144) as cpu.weight (1 to 10000), by the curve that maps 2, 1024 and 262144 to 1, 100
// and 10000, as the kernel's own defaults are 1024 and 100.
uint64_t WeightFromShares(uint64_t shares);
// blkio.weight (10 to 1000) as io.weight (1 to 10000), linear.
uint64_t IoWeightFromBlkio(uint64_t weight);

}  // namespace gantry::cgroup

#endif  // GANTRY_RUNTIME_CGROUP_PLAN_H_
