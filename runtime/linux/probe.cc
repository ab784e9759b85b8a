#include "runtime/linux/probe.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>

#include "runtime/sys/status.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::linux {
namespace {

bool KernelAtLeast(int wanted_major, int wanted_minor) {
  struct utsname name;
  int major = 0, minor = 0;
  if (uname(&name) != 0 || sscanf(name.release, "%d.%d", &major, &minor) != 2) return false;
  return major > wanted_major || (major == wanted_major && minor >= wanted_minor);
}

void ProbeCapabilities(plan::HostFacts* facts) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capget, &header, data) != 0) return;
  const uint64_t permitted = static_cast<uint64_t>(data[1].permitted) << 32 | data[0].permitted;
  for (int bit = 0; bit < 64; bit++) {
    const int bounding = prctl(PR_CAPBSET_READ, bit);
    if (bounding < 0) break;
    facts->known_capabilities |= uint64_t{1} << bit;
    if (bounding == 1) facts->capabilities |= permitted & uint64_t{1} << bit;
  }
}

}  // namespace

absl::StatusOr<plan::HostFacts> ProbeHost() {
  plan::HostFacts facts;
  GANTRY_ASSIGN_OR_RETURN(facts.cgroup, cgroup::ProbeHost());
  ProbeCapabilities(&facts);
  sys::UniqueFd enabled(open("/sys/module/apparmor/parameters/enabled", O_RDONLY | O_CLOEXEC));
  char answer = 'N';
  facts.apparmor = enabled.valid() && read(enabled.get(), &answer, 1) == 1 && answer == 'Y';
  facts.selinux = access("/sys/fs/selinux/enforce", F_OK) == 0;
  facts.overlay_lowerdir_append = KernelAtLeast(6, 8);
  return facts;
}

}  // namespace gantry::linux
