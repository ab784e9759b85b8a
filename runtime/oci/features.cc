#include "runtime/oci/features.h"

#include "runtime/oci/json_writer.h"

namespace gantry::oci {
namespace {

constexpr char kOldestSpecVersion[] = "1.0.0";

using Strings = std::vector<std::string>;

void WriteEnabled(JsonWriter& json, absl::string_view name, bool enabled) {
  json.Key(name);
  json.StartObject();
  json.Member("enabled", enabled);
  json.EndObject();
}

void WriteSeccomp(JsonWriter& json) {
  Strings actions = {"SCMP_ACT_KILL"};
  for (int i = 0; i <= static_cast<int>(SeccompAction::kNotify); ++i) {
    actions.emplace_back(SeccompActionName(static_cast<SeccompAction>(i)));
  }
  Strings operators;
  for (int i = 0; i <= static_cast<int>(SeccompOp::kMaskedEq); ++i) {
    operators.emplace_back(SeccompOpName(static_cast<SeccompOp>(i)));
  }
  const Strings flags = {"SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
                         "SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"};
  json.Key("seccomp");
  json.StartObject();
  json.Member("enabled", true);
  json.Member("actions", actions);
  json.Member("operators", operators);
  json.Member("archs", Strings{"SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM", "SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64",
                               "SCMP_ARCH_MIPS64N32", "SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64",
                               "SCMP_ARCH_MIPSEL64N32", "SCMP_ARCH_PPC", "SCMP_ARCH_PPC64",
                               "SCMP_ARCH_PPC64LE", "SCMP_ARCH_RISCV64", "SCMP_ARCH_S390", "SCMP_ARCH_S390X",
                               "SCMP_ARCH_X32", "SCMP_ARCH_X86", "SCMP_ARCH_X86_64"});
  json.Member("knownFlags", flags);
  json.Member("supportedFlags", flags);
  json.EndObject();
}

void WriteLinux(JsonWriter& json, const FeatureFacts& facts) {
  Strings namespaces;
  for (int i = 0; i <= static_cast<int>(NamespaceType::kTime); ++i) {
    namespaces.emplace_back(NamespaceTypeName(static_cast<NamespaceType>(i)));
  }
  json.Key("linux");
  json.StartObject();
  json.Member("namespaces", namespaces);
  json.Member("capabilities", AllCapabilities());
  json.Key("cgroup");
  json.StartObject();
  json.Member("v1", true);
  json.Member("v2", true);
  json.Member("systemd", facts.systemd_cgroup);
  json.Member("systemdUser", facts.systemd_cgroup);
  json.Member("rdma", true);
  json.EndObject();
  WriteSeccomp(json);
  WriteEnabled(json, "apparmor", facts.apparmor);
  WriteEnabled(json, "selinux", facts.selinux);
  json.Key("intelRdt");
  json.StartObject();
  json.Member("enabled", facts.intel_rdt);
  json.Member("schemata", facts.intel_rdt);
  json.Member("monitoring", facts.intel_rdt);
  json.EndObject();
  json.Key("mountExtensions");
  json.StartObject();
  WriteEnabled(json, "idmap", facts.idmap_mounts);
  json.EndObject();
  WriteEnabled(json, "netDevices", facts.net_devices);
  if (facts.memory_policy) {
    json.Key("memoryPolicy");
    json.StartObject();
    json.Member("modes", Strings{"MPOL_DEFAULT", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE",
                                 "MPOL_PREFERRED", "MPOL_PREFERRED_MANY", "MPOL_LOCAL"});
    json.Member("flags", Strings{"MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"});
    json.EndObject();
  }
  json.EndObject();
}

}  // namespace

const std::vector<std::string>& AllCapabilities() {
  static const auto* const kNames = new Strings{"CAP_CHOWN",
                                                "CAP_DAC_OVERRIDE",
                                                "CAP_DAC_READ_SEARCH",
                                                "CAP_FOWNER",
                                                "CAP_FSETID",
                                                "CAP_KILL",
                                                "CAP_SETGID",
                                                "CAP_SETUID",
                                                "CAP_SETPCAP",
                                                "CAP_LINUX_IMMUTABLE",
                                                "CAP_NET_BIND_SERVICE",
                                                "CAP_NET_BROADCAST",
                                                "CAP_NET_ADMIN",
                                                "CAP_NET_RAW",
                                                "CAP_IPC_LOCK",
                                                "CAP_IPC_OWNER",
                                                "CAP_SYS_MODULE",
                                                "CAP_SYS_RAWIO",
                                                "CAP_SYS_CHROOT",
                                                "CAP_SYS_PTRACE",
                                                "CAP_SYS_PACCT",
                                                "CAP_SYS_ADMIN",
                                                "CAP_SYS_BOOT",
                                                "CAP_SYS_NICE",
                                                "CAP_SYS_RESOURCE",
                                                "CAP_SYS_TIME",
                                                "CAP_SYS_TTY_CONFIG",
                                                "CAP_MKNOD",
                                                "CAP_LEASE",
                                                "CAP_AUDIT_WRITE",
                                                "CAP_AUDIT_CONTROL",
                                                "CAP_SETFCAP",
                                                "CAP_MAC_OVERRIDE",
                                                "CAP_MAC_ADMIN",
                                                "CAP_SYSLOG",
                                                "CAP_WAKE_ALARM",
                                                "CAP_BLOCK_SUSPEND",
                                                "CAP_AUDIT_READ",
                                                "CAP_PERFMON",
                                                "CAP_BPF",
                                                "CAP_CHECKPOINT_RESTORE"};
  return *kNames;
}

std::string FeaturesJson(const FeatureFacts& facts, bool pretty) {
  JsonWriter json(pretty);
  json.StartObject();
  json.Member("ociVersionMin", kOldestSpecVersion);
  json.Member("ociVersionMax", kSpecVersion);
  json.Member("hooks", Strings{"prestart", "createRuntime", "createContainer", "startContainer", "poststart",
                               "poststop"});
  json.Some("mountOptions", facts.mount_options);
  WriteLinux(json, facts);
  // What an annotation may change here: the settings of criu.
  json.Member("potentiallyUnsafeConfigAnnotations", Strings{"org.criu.config"});
  json.Member("annotations", std::map<std::string, std::string>{{"io.gantry.version", GANTRY_VERSION}});
  // Only those that concern nothing but the scope are taken; still, who may set one may lift a limit.
  json.Member("potentiallyUnsafeConfigAnnotations", Strings{"org.systemd.property."});
  json.EndObject();
  return json.Take();
}

}  // namespace gantry::oci
