// config-linux.md, "Control groups".
#include "runtime/oci/parse.h"

namespace gantry::oci {

using internal::Field;
using internal::Node;
using internal::RequiredField;

static void Read(const Node& node, DeviceRule* out) {
  if (!node.MustBeObject()) return;
  RequiredField(node, "allow", &out->allow);
  Field(node, "type", &out->type);
  Field(node, "major", &out->major);
  Field(node, "minor", &out->minor);
  Field(node, "access", &out->access);
}

static void Read(const Node& node, MemoryResources* out) {
  if (!node.MustBeObject()) return;
  Field(node, "limit", &out->limit);
  Field(node, "reservation", &out->reservation);
  Field(node, "swap", &out->swap);
  Field(node, "kernel", &out->kernel);
  Field(node, "kernelTCP", &out->kernel_tcp);
  Field(node, "swappiness", &out->swappiness);
  Field(node, "disableOOMKiller", &out->disable_oom_killer);
  Field(node, "useHierarchy", &out->use_hierarchy);
  Field(node, "checkBeforeUpdate", &out->check_before_update);
}

static void Read(const Node& node, CpuResources* out) {
  if (!node.MustBeObject()) return;
  Field(node, "shares", &out->shares);
  Field(node, "quota", &out->quota);
  Field(node, "burst", &out->burst);
  Field(node, "period", &out->period);
  Field(node, "realtimeRuntime", &out->realtime_runtime);
  Field(node, "realtimePeriod", &out->realtime_period);
  Field(node, "cpus", &out->cpus);
  Field(node, "mems", &out->mems);
  Field(node, "idle", &out->idle);
}

static void Read(const Node& node, WeightDevice* out) {
  if (!node.MustBeObject()) return;
  RequiredField(node, "major", &out->major);
  RequiredField(node, "minor", &out->minor);
  Field(node, "weight", &out->weight);
  Field(node, "leafWeight", &out->leaf_weight);
}

static void Read(const Node& node, ThrottleDevice* out) {
  if (!node.MustBeObject()) return;
  RequiredField(node, "major", &out->major);
  RequiredField(node, "minor", &out->minor);
  RequiredField(node, "rate", &out->rate);
}

static void Read(const Node& node, BlockIoResources* out) {
  if (!node.MustBeObject()) return;
  Field(node, "weight", &out->weight);
  Field(node, "leafWeight", &out->leaf_weight);
  Field(node, "weightDevice", &out->weight_device);
  Field(node, "throttleReadBpsDevice", &out->throttle_read_bps);
  Field(node, "throttleWriteBpsDevice", &out->throttle_write_bps);
  Field(node, "throttleReadIOPSDevice", &out->throttle_read_iops);
  Field(node, "throttleWriteIOPSDevice", &out->throttle_write_iops);
}

static void Read(const Node& node, HugepageLimit* out) {
  if (!node.MustBeObject()) return;
  RequiredField(node, "pageSize", &out->page_size);
  RequiredField(node, "limit", &out->limit);
}

static void Read(const Node& node, InterfacePriority* out) {
  if (!node.MustBeObject()) return;
  RequiredField(node, "name", &out->name);
  RequiredField(node, "priority", &out->priority);
}

static void Read(const Node& node, NetworkResources* out) {
  if (!node.MustBeObject()) return;
  Field(node, "classID", &out->class_id);
  Field(node, "priorities", &out->priorities);
}

static void Read(const Node& node, RdmaLimit* out) {
  if (!node.ok() || !node.MustBeObject()) return;
  Field(node, "hcaHandles", &out->hca_handles);
  Field(node, "hcaObjects", &out->hca_objects);
}

void Read(const Node& node, Resources* out) {
  if (!node.ok() || !node.MustBeObject()) return;
  Field(node, "devices", &out->devices);
  Field(node, "memory", &out->memory);
  Field(node, "cpu", &out->cpu);
  const Node pids(node, "pids");
  if (node.ok() && !pids.null() && pids.MustBeObject()) Field(pids, "limit", &out->pids_limit);
  Field(node, "blockIO", &out->block_io);
  Field(node, "hugepageLimits", &out->hugepage_limits);
  Field(node, "network", &out->network);
  Field(node, "rdma", &out->rdma);
  Field(node, "unified", &out->unified);
}

absl::StatusOr<Resources> ParseResources(absl::string_view json, absl::string_view name) {
  internal::Document document;
  absl::Status status = document.Parse(json, name);
  if (!status.ok()) return status;
  Resources resources;
  Read(document.root(), &resources);
  if (!document.status().ok()) return document.status();
  return resources;
}

}  // namespace gantry::oci
