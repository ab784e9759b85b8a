// The rules of config-linux.md, but for resources and seccomp.
#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/oci/sysctl.h"
#include "runtime/oci/validate.h"
#include "runtime/sys/status.h"

namespace gantry::oci::internal {
namespace {

absl::Status CheckNamespaces(const Linux& linux) {
  std::set<NamespaceType> seen;
  for (size_t i = 0; i < linux.namespaces.size(); ++i) {
    const Namespace& ns = linux.namespaces[i];
    const std::string name = absl::StrCat("linux.namespaces[", i, "]");
    if (!seen.insert(ns.type).second) {
      return Violation(name, absl::StrCat("the type \"", NamespaceTypeName(ns.type), "\" is listed twice"));
    }
    if (!ns.path.empty() && ns.path[0] != '/') {
      return Violation(name + ".path", absl::StrCat("must be an absolute path, found ", Quoted(ns.path)));
    }
  }
  const Namespace* user = linux.FindNamespace(NamespaceType::kUser);
  const bool mapped = !linux.uid_mappings.empty() || !linux.gid_mappings.empty();
  if (user == nullptr && mapped) {
    return Violation("linux.uidMappings", "mappings need a user namespace in linux.namespaces");
  }
  if (user != nullptr && user->path.empty() && (linux.uid_mappings.empty() || linux.gid_mappings.empty())) {
    return Violation("linux.uidMappings", "a new user namespace needs uidMappings and gidMappings");
  }
  GANTRY_RETURN_IF_ERROR(CheckMappings("linux.uidMappings", linux.uid_mappings));
  GANTRY_RETURN_IF_ERROR(CheckMappings("linux.gidMappings", linux.gid_mappings));
  if (linux.time_offsets.empty()) return absl::OkStatus();
  const Namespace* time = linux.FindNamespace(NamespaceType::kTime);
  if (time == nullptr || !time->path.empty()) {
    return Violation("linux.timeOffsets", "needs a new time namespace in linux.namespaces");
  }
  for (const auto& [clock, offset] : linux.time_offsets) {
    if (!OneOf(clock, {"boottime", "monotonic"})) {
      return Violation("linux.timeOffsets",
                       absl::StrCat("must be boottime or monotonic, found ", Quoted(clock)));
    }
    if (offset.nanosecs > 999999999) {
      return Violation(absl::StrCat("linux.timeOffsets.", clock, ".nanosecs"), "must be below 1000000000");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSysctls(const Linux& linux) {
  for (const auto& [key, value] : linux.sysctl) {
    auto path = SysctlPath(key);
    if (!path.ok()) return sys::Annotate(path.status(), "linux.sysctl");
    const std::string name = absl::StrCat("linux.sysctl.", Quoted(key));
    const std::optional<NamespaceType> type = SysctlNamespace(*path);
    if (!type.has_value()) {
      return Violation(name, "belongs to no namespace: it would change the whole host");
    }
    if (*path == "kernel/hostname") return Violation(name, "is set by the member \"hostname\" instead");
    // A joined network namespace may turn out to be the host's own: only whoever opens it can tell.
    if (linux.FindNamespace(*type) == nullptr) {
      return Violation(name, absl::StrCat("needs a ", NamespaceTypeName(*type),
                                          " namespace in linux.namespaces: it would change the host"));
    }
    if (value.find('\n') != std::string::npos) return Violation(name, "the value must be one line");
  }
  return absl::OkStatus();
}

absl::Status CheckDevices(const std::vector<Device>& devices) {
  for (size_t i = 0; i < devices.size(); ++i) {
    const Device& device = devices[i];
    const std::string name = absl::StrCat("linux.devices[", i, "]");
    if (device.path.empty() || device.path[0] != '/') {
      return Violation(name + ".path", absl::StrCat("must be an absolute path, found ", Quoted(device.path)));
    }
    const std::string of = absl::StrCat(name, " (", Quoted(device.path), ")");
    if (!OneOf(device.type, {"c", "b", "u", "p"})) {
      return Violation(of, absl::StrCat("type must be c, b, u or p, found ", Quoted(device.type)));
    }
    // The kernel's dev_t has 12 bits for the major and 20 for the minor number.
    if (device.major < 0 || device.major > 4095 || device.minor < 0 || device.minor > 1048575) {
      return Violation(of, absl::StrCat("major must be from 0 to 4095 and minor from 0 to 1048575, found ",
                                        device.major, ":", device.minor));
    }
    constexpr uint32_t kNoId = 0xffffffff;
    if (device.uid == kNoId || device.gid == kNoId)
      return Violation(of, "uid and gid must not be 4294967295");
  }
  return absl::OkStatus();
}

absl::Status CheckNetDevices(const Linux& linux) {
  if (linux.net_devices.empty()) return absl::OkStatus();
  if (linux.FindNamespace(NamespaceType::kNetwork) == nullptr) {
    return Violation("linux.netDevices", "needs a network namespace in linux.namespaces");
  }
  std::set<absl::string_view> targets;
  for (const auto& [host, device] : linux.net_devices) {
    const std::string& target = device.name.empty() ? host : device.name;
    for (const std::string& name : {host, target}) {
      if (!IsInterfaceName(name)) {
        return Violation("linux.netDevices", absl::StrCat(Quoted(name),
                                                          " is no name of a network device: at most 15 "
                                                          "bytes, without '/', ':' and white space"));
      }
    }
    if (!targets.insert(target).second) {
      return Violation("linux.netDevices", absl::StrCat("two devices would be called ", Quoted(target)));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckPaths(absl::string_view field, const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    if (path.empty() || path[0] != '/') {
      return Violation(field, absl::StrCat("must hold absolute paths, found ", Quoted(path)));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckIntelRdt(const IntelRdt& rdt) {
  const bool default_class = rdt.clos_id == "/";
  if (!default_class &&
      (rdt.clos_id == "." || rdt.clos_id == ".." || rdt.clos_id.find('/') != std::string::npos ||
       OneOf(rdt.clos_id, {"info", "mon_groups", "mon_data"}))) {
    return Violation(
        "linux.intelRdt.closID",
        absl::StrCat("must be a plain name, or \"/\" for the default class, found ", Quoted(rdt.clos_id)));
  }
  const auto one_line = [](const std::string& text) { return text.find('\n') == std::string::npos; };
  if (!one_line(rdt.l3_cache_schema))
    return Violation("linux.intelRdt.l3CacheSchema", "must be a single line");
  if (!rdt.mem_bw_schema.empty() &&
      (!one_line(rdt.mem_bw_schema) || !absl::StartsWith(rdt.mem_bw_schema, "MB:"))) {
    return Violation("linux.intelRdt.memBwSchema", "must be a single line that starts with \"MB:\"");
  }
  for (const std::string& line : rdt.schemata) {
    if (!one_line(line)) return Violation("linux.intelRdt.schemata", "must hold single lines");
  }
  return absl::OkStatus();
}

absl::Status CheckMemoryPolicy(const MemoryPolicy& policy) {
  if (!OneOf(policy.mode, {"MPOL_DEFAULT", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE",
                           "MPOL_PREFERRED", "MPOL_PREFERRED_MANY", "MPOL_LOCAL"})) {
    return Violation("linux.memoryPolicy.mode",
                     absl::StrCat("must be a mode of set_mempolicy(2), such as \"MPOL_BIND\", found ",
                                  Quoted(policy.mode)));
  }
  for (const std::string& flag : policy.flags) {
    if (!OneOf(flag, {"MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"})) {
      return Violation("linux.memoryPolicy.flags",
                       absl::StrCat("must be flags of set_mempolicy(2), found ", Quoted(flag)));
    }
  }
  // set_mempolicy(2), "Description"; said here, since the kernel only says EINVAL.
  const bool takes_none = OneOf(policy.mode, {"MPOL_DEFAULT", "MPOL_LOCAL"});
  const bool may_be_empty = takes_none || policy.mode == "MPOL_PREFERRED";
  if (takes_none && !policy.nodes.empty()) {
    return Violation("linux.memoryPolicy.nodes", absl::StrCat(policy.mode, " takes no nodes"));
  }
  if (!may_be_empty && policy.nodes.empty()) {
    return Violation("linux.memoryPolicy.nodes", absl::StrCat(policy.mode, " needs at least one node"));
  }
  const auto has = [&policy](absl::string_view flag) {
    return std::find(policy.flags.begin(), policy.flags.end(), flag) != policy.flags.end();
  };
  if (has("MPOL_F_RELATIVE_NODES") && has("MPOL_F_STATIC_NODES")) {
    return Violation("linux.memoryPolicy.flags",
                     "MPOL_F_RELATIVE_NODES and MPOL_F_STATIC_NODES exclude each other");
  }
  if (policy.nodes.empty()) return absl::OkStatus();
  return CheckCpuList("linux.memoryPolicy.nodes", policy.nodes);
}

}  // namespace

absl::Status CheckLinux(const Linux& linux) {
  GANTRY_RETURN_IF_ERROR(CheckNamespaces(linux));
  GANTRY_RETURN_IF_ERROR(CheckSysctls(linux));
  GANTRY_RETURN_IF_ERROR(CheckDevices(linux.devices));
  GANTRY_RETURN_IF_ERROR(CheckNetDevices(linux));
  GANTRY_RETURN_IF_ERROR(CheckPaths("linux.maskedPaths", linux.masked_paths));
  GANTRY_RETURN_IF_ERROR(CheckPaths("linux.readonlyPaths", linux.readonly_paths));
  if (!linux.rootfs_propagation.empty() &&
      !OneOf(linux.rootfs_propagation,
             {"private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"})) {
    return Violation(
        "linux.rootfsPropagation",
        absl::StrCat("must be private, slave, shared or unbindable (or one of them with r before it), found ",
                     Quoted(linux.rootfs_propagation)));
  }
  if (linux.personality.has_value()) {
    if (!OneOf(linux.personality->domain, {"LINUX", "LINUX32"})) {
      return Violation("linux.personality.domain",
                       absl::StrCat("must be LINUX or LINUX32, found ", Quoted(linux.personality->domain)));
    }
    if (!linux.personality->flags.empty()) return Violation("linux.personality.flags", "no flag is defined");
  }
  if (linux.intel_rdt.has_value()) GANTRY_RETURN_IF_ERROR(CheckIntelRdt(*linux.intel_rdt));
  if (linux.memory_policy.has_value()) GANTRY_RETURN_IF_ERROR(CheckMemoryPolicy(*linux.memory_policy));
  if (linux.seccomp.has_value()) GANTRY_RETURN_IF_ERROR(CheckSeccomp(*linux.seccomp));
  if (linux.resources.has_value()) {
    GANTRY_RETURN_IF_ERROR(sys::Annotate(ValidateResources(*linux.resources), "linux.resources"));
  }
  return absl::OkStatus();
}

absl::Status CheckSeccomp(const Seccomp& seccomp) {
  bool notify = false;
  if (seccomp.default_action == SeccompAction::kNotify) {
    return Violation("linux.seccomp.defaultAction", "must not be SCMP_ACT_NOTIFY: no call could be answered");
  }
  for (const std::string& flag : seccomp.flags) {
    if (!OneOf(flag, {"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_LOG",
                      "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"})) {
      return Violation("linux.seccomp.flags", absl::StrCat("is not known: ", Quoted(flag)));
    }
  }
  for (const std::string& arch : seccomp.architectures) {
    if (!OneOf(arch,
               {"SCMP_ARCH_X86",     "SCMP_ARCH_X86_64",   "SCMP_ARCH_X32",         "SCMP_ARCH_ARM",
                "SCMP_ARCH_AARCH64", "SCMP_ARCH_MIPS",     "SCMP_ARCH_MIPS64",      "SCMP_ARCH_MIPS64N32",
                "SCMP_ARCH_MIPSEL",  "SCMP_ARCH_MIPSEL64", "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC",
                "SCMP_ARCH_PPC64",   "SCMP_ARCH_PPC64LE",  "SCMP_ARCH_S390",        "SCMP_ARCH_S390X",
                "SCMP_ARCH_PARISC",  "SCMP_ARCH_PARISC64", "SCMP_ARCH_RISCV64",     "SCMP_ARCH_LOONGARCH64",
                "SCMP_ARCH_M68K",    "SCMP_ARCH_SH",       "SCMP_ARCH_SHEB"})) {
      return Violation("linux.seccomp.architectures", absl::StrCat("is not known: ", Quoted(arch)));
    }
  }
  for (size_t i = 0; i < seccomp.syscalls.size(); ++i) {
    const SeccompSyscall& rule = seccomp.syscalls[i];
    const std::string name = absl::StrCat("linux.seccomp.syscalls[", i, "]");
    if (rule.names.empty()) return Violation(name + ".names", "must not be empty");
    if (rule.args.size() > 6) return Violation(name + ".args", "a system call has at most 6 arguments");
    notify = notify || rule.action == SeccompAction::kNotify;
    for (const std::string& call : rule.names) {
      // The agent is asked through the very calls that hand over the descriptor.
      if (rule.action == SeccompAction::kNotify && call == "write") {
        return Violation(name,
                         "SCMP_ACT_NOTIFY cannot be used for write: the container could not be started");
      }
    }
  }
  if (notify && seccomp.listener_path.empty()) {
    return Violation("linux.seccomp.listenerPath", "is required by SCMP_ACT_NOTIFY");
  }
  if (!seccomp.listener_path.empty() && seccomp.listener_path[0] != '/') {
    return Violation("linux.seccomp.listenerPath",
                     absl::StrCat("must be an absolute path, found ", Quoted(seccomp.listener_path)));
  }
  return absl::OkStatus();
}

}  // namespace gantry::oci::internal
