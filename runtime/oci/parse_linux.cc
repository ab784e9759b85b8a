// config-linux.md, but for resources and seccomp.
#include "absl/strings/str_cat.h"
#include "runtime/oci/parse.h"

namespace gantry::oci {

using internal::Field;
using internal::Node;
using internal::RequiredField;

static void Read(const Node& node, NamespaceType* out) {
  std::string text;
  internal::Read(node, &text);
  if (!node.ok()) return;
  std::string known;
  for (int i = 0; i <= static_cast<int>(NamespaceType::kTime); ++i) {
    const auto type = static_cast<NamespaceType>(i);
    if (NamespaceTypeName(type) == text) {
      *out = type;
      return;
    }
    absl::StrAppend(&known, i == 0 ? "" : ", ", NamespaceTypeName(type));
  }
  node.Fail(absl::StrCat("must be one of ", known));
}

static void Read(const Node& node, Namespace* out) {
  if (!node.MustBeObject()) return;
  RequiredField(node, "type", &out->type);
  Field(node, "path", &out->path);
}

static void Read(const Node& node, TimeOffset* out) {
  if (!node.ok() || !node.MustBeObject()) return;
  Field(node, "secs", &out->secs);
  Field(node, "nanosecs", &out->nanosecs);
}

static void Read(const Node& node, Device* out) {
  if (!node.MustBeObject()) return;
  RequiredField(node, "path", &out->path);
  RequiredField(node, "type", &out->type);
  if (node.ok() && out->type != "p") {  // a FIFO has no number
    RequiredField(node, "major", &out->major);
    RequiredField(node, "minor", &out->minor);
  }
  Field(node, "fileMode", &out->file_mode);
  Field(node, "uid", &out->uid);
  Field(node, "gid", &out->gid);
}

static void Read(const Node& node, NetDevice* out) {
  if (!node.ok() || node.null()) return;  // "eth1": null is an empty object to Go
  if (!node.MustBeObject()) return;
  Field(node, "name", &out->name);
}

static void Read(const Node& node, Personality* out) {
  if (!node.MustBeObject()) return;
  RequiredField(node, "domain", &out->domain);
  Field(node, "flags", &out->flags);
}

static void Read(const Node& node, IntelRdt* out) {
  if (!node.MustBeObject()) return;
  Field(node, "closID", &out->clos_id);
  Field(node, "schemata", &out->schemata);
  Field(node, "l3CacheSchema", &out->l3_cache_schema);
  Field(node, "memBwSchema", &out->mem_bw_schema);
  Field(node, "enableMonitoring", &out->enable_monitoring);
}

static void Read(const Node& node, MemoryPolicy* out) {
  if (!node.MustBeObject()) return;
  RequiredField(node, "mode", &out->mode);
  Field(node, "nodes", &out->nodes);
  Field(node, "flags", &out->flags);
}

void Read(const Node& node, Linux* out) {
  if (!node.ok() || !node.MustBeObject()) return;
  Field(node, "namespaces", &out->namespaces);
  Field(node, "uidMappings", &out->uid_mappings);
  Field(node, "gidMappings", &out->gid_mappings);
  Field(node, "timeOffsets", &out->time_offsets);
  Field(node, "devices", &out->devices);
  Field(node, "netDevices", &out->net_devices);
  Field(node, "cgroupsPath", &out->cgroups_path);
  Field(node, "resources", &out->resources);
  Field(node, "rootfsPropagation", &out->rootfs_propagation);
  Field(node, "seccomp", &out->seccomp);
  Field(node, "sysctl", &out->sysctl);
  Field(node, "maskedPaths", &out->masked_paths);
  Field(node, "readonlyPaths", &out->readonly_paths);
  Field(node, "mountLabel", &out->mount_label);
  Field(node, "intelRdt", &out->intel_rdt);
  Field(node, "memoryPolicy", &out->memory_policy);
  Field(node, "personality", &out->personality);
}

const Namespace* Linux::FindNamespace(NamespaceType type) const {
  for (const Namespace& ns : namespaces) {
    if (ns.type == type) return &ns;
  }
  return nullptr;
}

}  // namespace gantry::oci
