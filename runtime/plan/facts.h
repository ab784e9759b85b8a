// What planning needs to know of the host: plain data, found by linux::ProbeHost (runtime/linux/probe.h) or
// made up by a test.
#ifndef GANTRY_RUNTIME_PLAN_FACTS_H_
#define GANTRY_RUNTIME_PLAN_FACTS_H_

#include <cstdint>

#include "runtime/cgroup/host.h"

namespace gantry::plan {

struct HostFacts {
  cgroup::Host cgroup;
  uint64_t capabilities = 0;        // what we have (permitted and bounding); no container gets more
  uint64_t known_capabilities = 0;  // what the kernel knows
  uint32_t uid = 0, gid = 0;        // ours, the effective ones
  bool apparmor = false;
  bool selinux = false;
  bool overlay_lowerdir_append = false;  // fsconfig's "lowerdir+" (Linux 6.8)
  bool mount_setattr = true;             // attributes of a mount by its descriptor (Linux 5.12)
  bool mqueue = true;                    // whether the kernel has that file system

  // An ordinary user: everything has to happen inside a user namespace of the container's own.
  bool unprivileged() const {
    constexpr int kSysAdmin = 21;  // CAP_SYS_ADMIN
    return (capabilities >> kSysAdmin & 1) == 0;
  }
};

}  // namespace gantry::plan

#endif  // GANTRY_RUNTIME_PLAN_FACTS_H_
