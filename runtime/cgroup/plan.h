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
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/cgroup/host.h"
#include "runtime/oci/spec.h"
#include "runtime/sys/dbus_value.h"

namespace gantry::cgroup {

// One directory of the container, in one hierarchy. Missing parents are made too.
struct Directory {
  int version = 1;
  // What the hierarchy serves: "cpu,cpuacct", "name=systemd"; on v2 what the root of the hierarchy offers
  // ("cpu,io,memory", may be empty).
  std::string controllers;
  std::string mount_point;  // "/sys/fs/cgroup/cpu,cpuacct"
  std::string path;         // absolute: mount_point + the container's path; never outside of mount_point
  // v2: what cgroup.subtree_control of all parents must list. Subset of `controllers`.
  std::vector<std::string> enable;
  // The systemd driver: the unit ("docker-ab12.scope") that owns it; empty: nobody but us.
  std::string unit;
  bool user_unit = false;  // of the user's systemd, not the system's

  // Whether it serves `controller`.
  bool Has(absl::string_view controller) const;
  friend bool operator==(const Directory&, const Directory&) = default;
};

// One write(2) of `value` to `file` of directories[directory]. Writes run in order; one that the kernel
// refuses with EINVAL is tried again after the others of its directory, because some pairs of files
// (memory.limit_in_bytes and memory.memsw.limit_in_bytes, the quota and the period of a CPU limit) must change in
// an order that depends on their old values.
struct FileWrite {
  size_t directory = 0;
  std::string file;     // "memory.limit_in_bytes"
  std::string value;    // "67108864"
  std::string setting;  // whence: "linux.resources.memory.limit"
  // Where `file` does not exist: another one, for kernels that call it differently. May be empty.
  std::string other_file;
  std::string other_value;
  // The kernel may lack both (memory.swap.max without swap): then nothing is asked that it does not do anyway.
  bool may_be_missing = false;

  friend bool operator==(const FileWrite&, const FileWrite&) = default;
};

struct DeviceRule {
  char type = 'c';     // 'b' or 'c'
  int64_t major = -1;  // -1: any
  int64_t minor = -1;
  std::string access;  // of "rwm", never empty

  friend bool operator==(const DeviceRule&, const DeviceRule&) = default;
};

// Which devices may be opened and made: all but the exceptions, or none but the exceptions. An access for
// reading and writing is allowed by one rule that allows both, not by two; it is denied by a rule against either.
struct DevicePolicy {
  bool default_allow = false;
  std::vector<DeviceRule> exceptions;

  friend bool operator==(const DevicePolicy&, const DevicePolicy&) = default;
};

struct SystemdProperty {
  std::string name;  // "MemoryMax"
  sys::DBusValue value;
  // An old systemd that does not know it is asked again without it: the writes to the files limit all the same.
  bool optional = false;

  friend bool operator==(const SystemdProperty&, const SystemdProperty&) = default;
};

// A transient scope: systemd makes the cgroup, knows of its limits, and leaves what is in it to us (Delegate).
// See systemd.scope(5), systemd.resource-control(5), org.freedesktop.systemd1(5).
struct SystemdScope {
  std::string unit;   // "docker-ab12.scope"
  std::string slice;  // "machine.slice"
  bool user = false;  // asked of the user's systemd
  std::vector<SystemdProperty> properties;
};

struct Plan {
  // The systemd driver: made first; then the directories, whose paths are the scope's, those that systemd does not
  // make included.
  std::optional<SystemdScope> scope;
  std::vector<Directory> directories;  // v1 ones first; the v2 one (at most one) last
  std::vector<FileWrite> writes;       // in this order
  // Once init is in it: limits that a scope's first process, which only holds it open, would count against.
  std::vector<FileWrite> late_writes;
  // v2: becomes the owner of the directory and of what may be delegated (config-linux.md, "Cgroup ownership").
  std::optional<uint32_t> owner_uid;
  // On hosts without the v1 controller: enforced by an eBPF program on the v2 directory. On v1 the policy is among
  // the writes.
  std::optional<DevicePolicy> device_program;
};

// Where a container's cgroup is to be.
struct Placement {
  std::string cgroups_path;  // linux.cgroupsPath; relative: below the caller's cgroup; empty: `id`
  std::string id;
  // The systemd driver: cgroups_path is "slice:prefix:name" (empty: the default slice, "gantry", `id`), the unit
  // prefix-name.scope. Needs Host::systemd. `annotations` may hold properties, "org.systemd.property.<Name>": a value
  // in GVariant's text form; only those that concern nothing but the scope are taken (CVE-2024-3154). May be null.
  bool systemd = false;
  const std::map<std::string, std::string>* annotations = nullptr;
};

// All of it for a new container. `resources` may be null: then the cgroup is made and the devices are
// limited to the default ones. Without a cgroups_path, a hierarchy that is not writable is left out.
absl::StatusOr<Plan> PlanCreate(const Host& host, const Placement& placement,
                                const oci::Resources* resources);

// The writes that change an existing container (its directories, from Create) to `resources`; what that
// leaves out stays. If a unit of systemd owns the directories, the plan's scope has its properties to change. Device rules are not among them: see PlanDevices and Cgroup::Update.
absl::StatusOr<Plan> PlanUpdate(const std::vector<Directory>& directories, const oci::Resources& resources);

// The rules that hold in a container: none but what the specification allows, and always the devices that every
// container has (config-linux.md, "Default Devices") and mknod of anything. INVALID_ARGUMENT for a rule that
// would cut a hole into an earlier, broader one: no kernel can express that.
absl::StatusOr<DevicePolicy> PlanDevices(const std::vector<oci::DeviceRule>& rules);

// The lines for devices.deny and devices.allow of v1 that establish `policy` in directory `index`.
std::vector<FileWrite> DeviceWrites(const DevicePolicy& policy, size_t index);

// cpu.shares (2 to 262144) as cpu.weight (1 to 10000), by the curve that maps 2, 1024 and 262144 to 1, 100
// and 10000, as the kernel's own defaults are 1024 and 100.
uint64_t WeightFromShares(uint64_t shares);
// blkio.weight (10 to 1000) as io.weight (1 to 10000), linear.
uint64_t IoWeightFromBlkio(uint64_t weight);

}  // namespace gantry::cgroup

#endif  // GANTRY_RUNTIME_CGROUP_PLAN_H_
