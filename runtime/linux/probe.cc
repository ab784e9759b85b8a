#include "runtime/linux/probe.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdlib>

#include "runtime/sys/mount_api.h"
#include "runtime/sys/status.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::linux {
namespace {

bool KernelAtLeast(int wanted_major, int wanted_minor) {
  struct utsname name;
  if (uname(&name) != 0) return false;
  // By hand: sscanf alone is 35 KB of code, read from the disk's cache at each start.
  char* end;
  const long major = strtol(name.release, &end, 10);
  if (end == name.release || *end != '.') return false;
  const long minor = strtol(end + 1, nullptr, 10);
  return major > wanted_major || (major == wanted_major && minor >= wanted_minor);
}

void ProbeCapabilities(plan::HostFacts* facts) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capget, &header, data) != 0) return;
  const uint64_t permitted = static_cast<uint64_t>(data[1].permitted) << 32 | data[0].permitted;
  const uint64_t inheritable = static_cast<uint64_t>(data[1].inheritable) << 32 | data[0].inheritable;
  // The kernel's last, by halving: forty calls fewer than one for each.
  int known = 0, unknown = 64;
  while (unknown - known > 1) {
    const int middle = (known + unknown) / 2;
    (prctl(PR_CAPBSET_READ, middle) >= 0 ? known : unknown) = middle;
  }
  facts->known_capabilities = unknown == 64 ? ~uint64_t{0} : (uint64_t{1} << unknown) - 1;
  facts->capabilities = permitted & facts->known_capabilities;
  // What execve gave us comes from the bounding set (capabilities(7)), except by way of the inheritable one.
  for (int bit = 0; bit < unknown; bit++) {
    const uint64_t capability = uint64_t{1} << bit;
    if ((permitted & inheritable & capability) != 0 && prctl(PR_CAPBSET_READ, bit) != 1)
      facts->capabilities &= ~capability;
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
  facts.uid = geteuid();
  facts.gid = getegid();
  facts.overlay_lowerdir_append = KernelAtLeast(6, 8);
  facts.mount_setattr = sys::HasMountSetattr();
  return facts;
}

}  // namespace gantry::linux
