// The child: what makes the process: limits, scheduling, labels, directory, user, capabilities.
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "runtime/linux/child.h"
#include "runtime/linux/home.h"
#include "runtime/linux/in_root.h"

namespace gantry::linux {
namespace {

struct SchedAttr {  // sched_setattr(2)
  uint32_t size;
  uint32_t policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
};

int SetCaps(uint64_t effective, uint64_t permitted, uint64_t inheritable) {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2];
  for (int i = 0; i < 2; i++) {
    data[i].effective = static_cast<uint32_t>(effective >> (32 * i));
    data[i].permitted = static_cast<uint32_t>(permitted >> (32 * i));
    data[i].inheritable = static_cast<uint32_t>(inheritable >> (32 * i));
  }
  return static_cast<int>(syscall(SYS_capset, &header, data));
}

uint64_t OwnPermitted() {
  struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct data[2] = {};
  if (syscall(SYS_capget, &header, data) != 0) return 0;
  return static_cast<uint64_t>(data[1].permitted) << 32 | data[0].permitted;
}

constexpr int kMaxCapabilities = 64;

}  // namespace

bool Child::Do(const plan::SetRlimit& op) {
  struct rlimit64 limit = {op.soft, op.hard};
  if (prlimit64(0, static_cast<__rlimit_resource>(op.resource), &limit, nullptr) == 0) return true;
  if (errno != EPERM) return Fail("setrlimit", op.type.c_str());
  // Without CAP_SYS_RESOURCE a hard limit only goes down: as near as we may.
  struct rlimit64 old;
  if (prlimit64(0, static_cast<__rlimit_resource>(op.resource), nullptr, &old) != 0) {
    return Fail("getrlimit", op.type.c_str());
  }
  limit.rlim_max = std::min(op.hard, static_cast<uint64_t>(old.rlim_max));
  limit.rlim_cur = std::min(op.soft, static_cast<uint64_t>(limit.rlim_max));
  if (prlimit64(0, static_cast<__rlimit_resource>(op.resource), &limit, nullptr) != 0) {
    return Fail("setrlimit", op.type.c_str());
  }
  Warn("the limit stays at ours, CAP_SYS_RESOURCE is missing", op.type.c_str(), EPERM);
  return true;
}

bool Child::Do(const plan::SetPersonality& op) {
  if (personality(op.persona) == -1) return Fail("personality");
  return true;
}

bool Child::Do(const plan::SetIoPriority& op) {
  constexpr int kProcess = 1;  // IOPRIO_WHO_PROCESS
  if (syscall(SYS_ioprio_set, kProcess, 0, op.priority) != 0) return Fail("ioprio_set");
  return true;
}

bool Child::Do(const plan::SetScheduler& op) {
  const SchedAttr attr = {sizeof attr, op.policy,  op.flags,    op.nice,
                          op.priority, op.runtime, op.deadline, op.period};
  if (syscall(SYS_sched_setattr, 0, &attr, 0) != 0) return Fail("sched_setattr");
  return true;
}

bool Child::Do(const plan::SetCpuAffinity& op) {
  if (syscall(SYS_sched_setaffinity, 0, op.mask.size() * sizeof(uint64_t), op.mask.data()) < 0) {
    return Fail("sched_setaffinity");
  }
  return true;
}

bool Child::Do(const plan::SetMemoryPolicy& op) {
  // The kernel takes one less than the number of bits that it is told.
  const size_t bits = op.nodes.empty() ? 0 : op.nodes.size() * 64 + 1;
  if (syscall(SYS_set_mempolicy, op.mode, op.nodes.empty() ? nullptr : op.nodes.data(), bits) == 0)
    return true;
  return Fail("set_mempolicy", op.name.c_str());
}

bool Child::Do(const plan::NewKeyring& op) {
  // ENOSYS: a kernel without keyrings has none to inherit. A used-up quota must not keep a container from
  // starting, as long as the caller's keyring goes: then an anonymous one.
  if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, op.name.c_str()) >= 0 || errno == ENOSYS) return true;
  if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) >= 0) return true;
  return Fail("session keyring", op.name.c_str());
}

bool Child::Do(const plan::SetLabel& op) {
  const int fd = openat(p_.proc, op.path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return Fail("label", op.label.c_str());
  const ssize_t n = write(fd, op.label.data(), op.label.size());
  const int saved = errno;
  close(fd);
  errno = saved;
  return n >= 0 || Fail("label", op.label.c_str());
}

bool Child::Do(const plan::SetUmask& op) {
  umask_ = op.mask;
  return true;
}

bool Child::Do(const plan::FindHome& op) {
  FindHomeInPasswd(Root(), op.uid, home_ + 5, sizeof home_ - 5);
  return true;
}

bool Child::Do(const plan::EnterDirectory& op) {
  if (in_directory_) return true;
  const char* path = op.path.c_str();
  // No magic links on the way: /proc/self/fd/N would be a directory of the host (CVE-2024-21626).
  const int fd =
      op.make ? MakeDirectoryInRoot(Root(), path, 0755) : OpenInRoot(Root(), path, O_PATH | O_DIRECTORY);
  if (fd < 0 || fchdir(fd) != 0) {
    const int saved = errno;
    if (fd >= 0) close(fd);
    errno = saved;
    return (op.may_be_denied && (errno == EACCES || errno == EPERM)) || Fail("cwd", path);
  }
  close(fd);
  char where[PATH_MAX];
  const long n = syscall(SYS_getcwd, where, sizeof where);
  if (n < 0) return Fail("cwd", path);
  if (where[0] != '/') return FailAs(Failure::kOther, "cwd is outside of the container's root", path);
  in_directory_ = true;
  return true;
}

bool Child::Do(const plan::SetUser& op) {
  umask(umask_);
  if (prctl(PR_SET_KEEPCAPS, 1) != 0) return Fail("PR_SET_KEEPCAPS");
  if (op.set_groups && syscall(SYS_setgroups, op.groups.size(), op.groups.data()) != 0) {
    // A user namespace that denies setgroups(2) has no groups to drop but those it cannot see.
    if (errno != EPERM || !op.groups.empty()) return Fail("setgroups");
  }
  if (syscall(SYS_setresgid, op.gid, op.gid, op.gid) != 0) return Fail("setresgid");
  if (syscall(SYS_setresuid, op.uid, op.uid, op.uid) != 0) return Fail("setresuid");
  if (prctl(PR_SET_KEEPCAPS, 0) != 0) return Fail("PR_SET_KEEPCAPS");
  return true;
}

bool Child::Do(const plan::SetCapabilities& op) {
  // The change of user has emptied the effective set; dropping from the bounding set needs CAP_SETPCAP.
  const uint64_t own = OwnPermitted();
  if (SetCaps(own, own, 0) != 0) return Fail("capset");
  for (int bit = 0; !bounded_ && bit < kMaxCapabilities; bit++) {
    if ((op.bounding >> bit & 1) != 0 || prctl(PR_CAPBSET_DROP, bit) == 0) continue;
    if (errno == EINVAL) break;  // beyond the kernel's last
    return Fail("PR_CAPBSET_DROP");
  }
  bounded_ = true;  // a second time comes behind the filter, which need not allow it all again
  const uint64_t keep = op.final ? 0 : own & (uint64_t{1} << CAP_SYS_ADMIN | uint64_t{1} << CAP_SETPCAP);
  if (SetCaps(op.effective | keep, op.permitted | keep, op.inheritable) != 0) return Fail("capset");
  if (!op.final) return true;
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) return Fail("PR_CAP_AMBIENT_CLEAR_ALL");
  for (int bit = 0; bit < kMaxCapabilities; bit++) {
    if ((op.ambient >> bit & 1) == 0) continue;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, bit, 0, 0) != 0) return Fail("PR_CAP_AMBIENT_RAISE");
  }
  return true;
}

}  // namespace gantry::linux
