// What this machine offers as control groups: found once per process, then only read.
//
// Three layouts exist: version 1 (each controller, or a few together, is a hierarchy of its own), version 2
// (one hierarchy), and hybrid (version 1 for most controllers, version 2 beside it). Which version a
// controller has is a question per controller: a hybrid host may serve hugetlb by version 2 alone. See
// cgroups(7).
#ifndef GANTRY_RUNTIME_CGROUP_HOST_H_
#define GANTRY_RUNTIME_CGROUP_HOST_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::cgroup {

struct Hierarchy {
  int version = 1;
  // v1: what is mounted together ({"cpu", "cpuacct"}), or {"name=systemd"}. v2: cgroup.controllers of the
  // root.
  std::vector<std::string> controllers;
  std::string mount_point;  // "/sys/fs/cgroup/memory"
  std::string self = "/";   // where the probing process is, relative to mount_point; starts with '/'
  bool writable = true;     // whether it may make cgroups at Host::Base; known to be so for root

  bool Has(absl::string_view controller) const;
};

// The systemd to ask for scopes.
struct SystemdManager {
  bool user = false;  // the user's, for those who are not the host's root
  std::string root;   // its cgroup: "" or "/user.slice/user-1000.slice/user@1000.service"
  // Names of device drivers by type and major, "c136": "pts"; see proc(5), /proc/devices.
  std::map<std::string, std::string> device_names;
};

struct Host {
  std::vector<Hierarchy> hierarchies;  // v1 ones first, the v2 one (there is at most one) last
  // Whether the probing process is root, and not of a user namespace only. Device rules are root's alone: others
  // cannot make devices either.
  bool privileged = true;
  std::optional<SystemdManager> systemd;  // only when asked for: ProbeSystemd (systemd.h)

  // The hierarchy that serves `controller`; null if none does.
  const Hierarchy* Find(absl::string_view controller) const;
  // The v2 hierarchy; null if none is mounted.
  const Hierarchy* Unified() const;
  // Below which cgroup a container gets its own when it names none or a relative one; "" for the root.
  std::string Base(const Hierarchy& hierarchy) const;
  // Only version 2 is mounted.
  bool unified_only() const;
};

// Reads /proc/self/cgroup and finds the mount points: the usual ones below /sys/fs/cgroup are looked at
// first, /proc/self/mountinfo (slow on a host with thousands of mounts) only if they are not there. An error
// only if /proc cannot be read; a host without any cgroup mount is an empty Host.
absl::StatusOr<Host> ProbeHost();

// The pure part, for tests and for /proc texts of other machines. `unified_controllers` is the v2 root's
// cgroup.controllers.
Host ParseHost(absl::string_view mountinfo, absl::string_view proc_cgroup,
               absl::string_view unified_controllers);

}  // namespace gantry::cgroup

#endif  // GANTRY_RUNTIME_CGROUP_HOST_H_
