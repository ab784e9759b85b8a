// The child: cgroup, namespaces and what belongs to them.
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "runtime/cgroup/cgroup.h"
#include "runtime/linux/child.h"
#include "runtime/oci/spec.h"

namespace gantry::linux {

bool Child::Do(const plan::JoinCgroup& op) {
  if (op.by_helper) return true;
  size_t failed = 0;
  const int error = cgroup::JoinSelf(p_.cgroup_tasks.data(), p_.cgroup_tasks.size(), &failed);
  if (error == 0) return true;
  errno = error;
  return Fail("join the cgroup");
}

bool Child::Do(const plan::JoinNamespace& op) {
  if (op.by_helper) return true;
  if (setns(Slot(op.slot), 0) == 0) return true;
  return Fail("setns", oci::NamespaceTypeName(op.type).data());
}

bool Child::Do(const plan::JoinProcess&) {
  // The helper has joined; our root is the container's.
  root_ = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root_ < 0) return Fail("open", "the container's root");
  return true;
}

bool Child::Do(const plan::AwaitIdMaps&) {
  if (!WaitForGo()) return false;
  // Clone::dumpable was for the maps.
  prctl(PR_SET_DUMPABLE, 0);
  return true;
}

bool Child::Do(const plan::AwaitNetDevices&) { return WaitForGo(); }

bool Child::Do(const plan::UnshareCgroupNamespace&) {
  if (unshare(CLONE_NEWCGROUP) != 0) return Fail("unshare", "cgroup namespace");
  return true;
}

bool Child::Do(const plan::BecomeRoot&) {
  // Plain system calls: libc's wrappers would signal other threads, of which there are none.
  if (syscall(SYS_setresgid, 0, 0, 0) != 0) return Fail("setresgid", "root of the user namespace");
  if (syscall(SYS_setresuid, 0, 0, 0) != 0) return Fail("setresuid", "root of the user namespace");
  return true;
}

bool Child::Do(const plan::NewSession&) {
  if (setsid() < 0) return Fail("setsid");
  return true;
}

bool Child::Do(const plan::LoopbackUp&) {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return Fail("socket", "for the loopback device");
  struct ifreq request = {};
  strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  const int result = ioctl(fd, SIOCSIFFLAGS, &request);
  close(fd);
  if (result != 0) return Fail("SIOCSIFFLAGS", "lo");
  return true;
}

bool Child::Do(const plan::SetHostname& op) {
  if (sethostname(op.name.data(), op.name.size()) != 0) return Fail("sethostname", op.name.c_str());
  return true;
}

bool Child::Do(const plan::SetDomainname& op) {
  if (setdomainname(op.name.data(), op.name.size()) != 0) return Fail("setdomainname", op.name.c_str());
  return true;
}

bool Child::Do(const plan::WriteSysctl& op) {
  const int fd = openat(p_.proc, op.path.c_str(), O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return Fail("sysctl", op.key.c_str());
  const ssize_t n = write(fd, op.value.data(), op.value.size());
  const int error = errno;
  close(fd);
  errno = error;
  if (n < 0) return Fail("sysctl", op.key.c_str());
  return true;
}

}  // namespace gantry::linux
