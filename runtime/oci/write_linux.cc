// Structs to JSON: config-linux.md, but for resources.
#include "runtime/oci/write.h"

namespace gantry::oci {

static void Write(JsonWriter& json, const Namespace& ns) {
  json.StartObject();
  json.Member("type", NamespaceTypeName(ns.type));
  json.Some("path", ns.path);
  json.EndObject();
}

static void Write(JsonWriter& json, const TimeOffset& offset) {
  json.StartObject();
  json.Some("secs", offset.secs);
  json.Some("nanosecs", offset.nanosecs);
  json.EndObject();
}

static void Write(JsonWriter& json, const Device& device) {
  json.StartObject();
  json.Member("path", device.path);
  json.Member("type", device.type);
  if (device.type != "p") {
    json.Member("major", device.major);
    json.Member("minor", device.minor);
  }
  json.Some("fileMode", device.file_mode);
  json.Some("uid", device.uid);
  json.Some("gid", device.gid);
  json.EndObject();
}

static void Write(JsonWriter& json, const NetDevice& device) {
  json.StartObject();
  json.Some("name", device.name);
  json.EndObject();
}

static void Write(JsonWriter& json, const SeccompArg& arg) {
  json.StartObject();
  json.Member("index", arg.index);
  json.Member("value", arg.value);
  json.Some("valueTwo", arg.value_two);
  json.Member("op", SeccompOpName(arg.op));
  json.EndObject();
}

static void Write(JsonWriter& json, const SeccompSyscall& rule) {
  json.StartObject();
  json.Member("names", rule.names);
  json.Member("action", SeccompActionName(rule.action));
  json.Some("errnoRet", rule.errno_ret);
  json.Some("args", rule.args);
  json.EndObject();
}

void Write(JsonWriter& json, const Seccomp& seccomp) {
  json.StartObject();
  json.Member("defaultAction", SeccompActionName(seccomp.default_action));
  json.Some("defaultErrnoRet", seccomp.default_errno_ret);
  json.Some("architectures", seccomp.architectures);
  json.Some("flags", seccomp.flags);
  json.Some("listenerPath", seccomp.listener_path);
  json.Some("listenerMetadata", seccomp.listener_metadata);
  json.Some("syscalls", seccomp.syscalls);
  json.EndObject();
}

static void Write(JsonWriter& json, const IntelRdt& rdt) {
  json.StartObject();
  json.Some("closID", rdt.clos_id);
  json.Some("schemata", rdt.schemata);
  json.Some("l3CacheSchema", rdt.l3_cache_schema);
  json.Some("memBwSchema", rdt.mem_bw_schema);
  json.Some("enableMonitoring", rdt.enable_monitoring);
  json.EndObject();
}

static void Write(JsonWriter& json, const MemoryPolicy& policy) {
  json.StartObject();
  json.Member("mode", policy.mode);
  json.Some("nodes", policy.nodes);
  json.Some("flags", policy.flags);
  json.EndObject();
}

static void Write(JsonWriter& json, const Personality& personality) {
  json.StartObject();
  json.Member("domain", personality.domain);
  json.Some("flags", personality.flags);
  json.EndObject();
}

void Write(JsonWriter& json, const Linux& linux) {
  json.StartObject();
  json.Some("uidMappings", linux.uid_mappings);
  json.Some("gidMappings", linux.gid_mappings);
  json.Some("sysctl", linux.sysctl);
  json.Some("resources", linux.resources);
  json.Some("cgroupsPath", linux.cgroups_path);
  json.Some("namespaces", linux.namespaces);
  json.Some("devices", linux.devices);
  json.Some("netDevices", linux.net_devices);
  json.Some("seccomp", linux.seccomp);
  json.Some("rootfsPropagation", linux.rootfs_propagation);
  json.Some("maskedPaths", linux.masked_paths);
  json.Some("readonlyPaths", linux.readonly_paths);
  json.Some("mountLabel", linux.mount_label);
  json.Some("intelRdt", linux.intel_rdt);
  json.Some("memoryPolicy", linux.memory_policy);
  json.Some("personality", linux.personality);
  json.Some("timeOffsets", linux.time_offsets);
  json.EndObject();
}

}  // namespace gantry::oci
