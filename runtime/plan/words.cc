#include "runtime/plan/words.h"

#include <cstddef>
#include <iterator>

namespace gantry::plan {
namespace {

// In the order of their bits, <linux/capability.h>.
constexpr const char* kCapabilities[] = {
    "give files to other users",
    "read and write any file, whatever its permissions",
    "read any file and enter any directory",
    "do to files what only their owner may",
    "keep set-user-ID bits when changing files",
    "signal processes of other users",
    "become any group, and name any group over a socket",
    "become any user, and name any user over a socket",
    "give its capabilities up, and to its children",
    "change files marked immutable or append-only",
    "listen on ports below 1024",
    "send network broadcasts",
    "configure the network: addresses, routes, firewall",
    "forge and listen to raw network packets",
    "lock memory, so that it is never swapped",
    "use other users' System V shared memory",
    "load kernel modules: the whole host",
    "talk to hardware directly: the whole host",
    "change its root directory",
    "look into and change other processes",
    "turn process accounting on and off",
    "mount, join namespaces and much else: nearly the whole host",
    "restart the host",
    "raise priorities, choose real-time scheduling",
    "go beyond resource limits and quotas",
    "set the host's clock",
    "hang up terminals",
    "make device files",
    "take leases on files of other users",
    "write to the audit log",
    "configure auditing",
    "set capabilities on files",
    "override mandatory access control (Smack)",
    "configure mandatory access control",
    "read and clear the kernel's log",
    "wake the host from suspend",
    "keep the host from suspending",
    "read the audit log",
    "watch the performance of the whole host",
    "load eBPF programs",
    "checkpoint and restore processes",
};

constexpr DangerousCall kDangerous[] = {
    {"acct", "process accounting of the whole host"},
    {"add_key", "the kernel's key store, which has no namespace"},
    {"bpf", "programs inside the kernel"},
    {"clock_settime", "the host's clock"},
    {"clone", "new user namespaces, and with them more of the kernel"},
    {"clone3", "new namespaces, with flags that no filter can see"},
    {"delete_module", "removes kernel modules"},
    {"fanotify_init", "sees all file accesses of a file system"},
    {"finit_module", "loads code into the kernel"},
    {"fsconfig", "configures a new file system"},
    {"fsmount", "mounts a file system"},
    {"fsopen", "mounts a file system"},
    {"init_module", "loads code into the kernel"},
    {"io_uring_setup", "system calls that the filter does not see"},
    {"ioperm", "the host's input and output ports"},
    {"iopl", "the host's input and output ports"},
    {"kexec_file_load", "another kernel"},
    {"kexec_load", "another kernel"},
    {"keyctl", "the kernel's key store, which has no namespace"},
    {"lookup_dcookie", "paths of the host"},
    {"mount", "mounts file systems"},
    {"mount_setattr", "changes mounts"},
    {"move_mount", "moves mounts"},
    {"open_by_handle_at", "opens files by handle, past every mount: the way out of early containers"},
    {"open_tree", "copies mounts"},
    {"perf_event_open", "watches the kernel, with a long history of holes"},
    {"personality", "turns address space randomisation off"},
    {"pidfd_getfd", "takes open files from other processes"},
    {"pivot_root", "changes the root of a mount namespace"},
    {"process_vm_readv", "reads the memory of other processes that it sees"},
    {"process_vm_writev", "writes to the memory of other processes that it sees"},
    {"ptrace", "controls other processes that it sees"},
    {"quotactl", "disk quotas of the host"},
    {"reboot", "restarts the host"},
    {"request_key", "the kernel's key store, which has no namespace"},
    {"setns", "joins namespaces"},
    {"settimeofday", "the host's clock"},
    {"socket", "every kind of socket, those past the network namespace too (AF_VSOCK, AF_ALG)"},
    {"swapoff", "the host's swap"},
    {"swapon", "the host's swap"},
    {"syslog", "the kernel's log"},
    {"umount2", "uncovers what a mount hides"},
    {"unshare", "new user namespaces, and with them more of the kernel"},
    {"userfaultfd", "stops the kernel at a moment of its choice, a part of many exploits"},
    {"vhangup", "hangs up terminals"},
};

}  // namespace

absl::string_view CapabilityMeaning(int bit) {
  return bit >= 0 && static_cast<size_t>(bit) < std::size(kCapabilities) ? kCapabilities[bit] : "";
}

absl::Span<const DangerousCall> DangerousCalls() { return kDangerous; }

absl::string_view OwnNamespaceMeaning(oci::NamespaceType type) {
  switch (type) {
    case oci::NamespaceType::kPid:
      return "sees only its own processes, and is number 1 among them";
    case oci::NamespaceType::kNetwork:
      return "has its own interfaces, addresses, ports and firewall";
    case oci::NamespaceType::kMount:
      return "has its own view of which file systems are where";
    case oci::NamespaceType::kIpc:
      return "has its own shared memory, semaphores and message queues";
    case oci::NamespaceType::kUts:
      return "has its own host name";
    case oci::NamespaceType::kUser:
      return "is root only inside: its users are others outside";
    case oci::NamespaceType::kCgroup:
      return "sees its own control group as the root of all";
    case oci::NamespaceType::kTime:
      return "has its own offsets of the clocks since boot";
  }
  return "";
}

absl::string_view SharedNamespaceMeaning(oci::NamespaceType type) {
  switch (type) {
    case oci::NamespaceType::kPid:
      return "sees and may signal the processes of the host";
    case oci::NamespaceType::kNetwork:
      return "uses the host's interfaces, ports and firewall";
    case oci::NamespaceType::kMount:
      return "sees the host's mounts";
    case oci::NamespaceType::kIpc:
      return "shares shared memory and queues with the host";
    case oci::NamespaceType::kUts:
      return "has the host's name";
    case oci::NamespaceType::kUser:
      return "user 0 inside is root of the host too";
    case oci::NamespaceType::kCgroup:
      return "sees where in the host's control groups it is";
    case oci::NamespaceType::kTime:
      return "has the host's clocks, as nearly every container";
  }
  return "";
}

}  // namespace gantry::plan
