#include "runtime/oci/spec.h"

namespace gantry::oci {
namespace {

std::vector<Mount> DefaultMounts() {
  const auto entry = [](const char* destination, const char* type, const char* source,
                        std::vector<std::string> options) {
    return Mount{destination, type, source, std::move(options), {}, {}};
  };
  return {
      entry("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}),
      entry("/dev", "tmpfs", "tmpfs", {"nosuid", "strictatime", "mode=755", "size=65536k"}),
      entry("/dev/pts", "devpts", "devpts",
            {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}),
      entry("/dev/shm", "tmpfs", "shm", {"nosuid", "noexec", "nodev", "mode=1777", "size=65536k"}),
      entry("/dev/mqueue", "mqueue", "mqueue", {"nosuid", "noexec", "nodev"}),
      entry("/sys", "sysfs", "sysfs", {"nosuid", "noexec", "nodev", "ro"}),
      entry("/sys/fs/cgroup", "cgroup", "cgroup", {"nosuid", "noexec", "nodev", "relatime", "ro"}),
  };
}

}  // namespace

std::vector<std::string> DefaultCapabilities() {
  return {"CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FSETID",           "CAP_FOWNER",
          "CAP_MKNOD",   "CAP_NET_RAW",      "CAP_SETGID",           "CAP_SETUID",
          "CAP_SETFCAP", "CAP_SETPCAP",      "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT",
          "CAP_KILL",    "CAP_AUDIT_WRITE"};
}

Spec DefaultSpec() {
  Spec spec;
  spec.oci_version = kSpecVersion;
  spec.root = Root{"rootfs", false};
  spec.hostname = "gantry";
  spec.mounts = DefaultMounts();
  Process& process = spec.process.emplace();
  process.terminal = true;
  process.args = {"sh"};
  process.env = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"};
  process.cwd = "/";
  process.no_new_privileges = true;
  process.rlimits = {{"RLIMIT_NOFILE", 1024, 1024}};
  const std::vector<std::string> names = DefaultCapabilities();
  // Nothing inheritable or ambient (CVE-2022-24769, CVE-2022-29162).
  process.capabilities = Capabilities{names, names, {}, names, {}};
  Linux& linux = spec.linux.emplace();
  for (const NamespaceType type : {NamespaceType::kPid, NamespaceType::kNetwork, NamespaceType::kIpc,
                                   NamespaceType::kUts, NamespaceType::kMount, NamespaceType::kCgroup}) {
    linux.namespaces.push_back({type, ""});
  }
  DeviceRule deny;
  deny.access = "rwm";
  linux.resources.emplace().devices = {deny};
  linux.masked_paths = {"/proc/acpi",       "/proc/asound",      "/proc/interrupts",
                        "/proc/kcore",      "/proc/keys",        "/proc/latency_stats",
                        "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
                        "/proc/scsi",       "/sys/firmware",     "/sys/devices/virtual/powercap"};
  linux.readonly_paths = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
  return spec;
}

}  // namespace gantry::oci
