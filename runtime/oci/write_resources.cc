// Structs to JSON: config-linux.md, "Control groups".
#include "runtime/oci/write.h"

namespace gantry::oci {

static void Write(JsonWriter& json, const DeviceRule& rule) {
  json.StartObject();
  json.Member("allow", rule.allow);
  json.Some("type", rule.type);
  json.Some("major", rule.major);
  json.Some("minor", rule.minor);
  json.Some("access", rule.access);
  json.EndObject();
}

static void Write(JsonWriter& json, const MemoryResources& memory) {
  json.StartObject();
  json.Some("limit", memory.limit);
  json.Some("reservation", memory.reservation);
  json.Some("swap", memory.swap);
  json.Some("kernel", memory.kernel);
  json.Some("kernelTCP", memory.kernel_tcp);
  json.Some("swappiness", memory.swappiness);
  json.Some("disableOOMKiller", memory.disable_oom_killer);
  json.Some("useHierarchy", memory.use_hierarchy);
  json.Some("checkBeforeUpdate", memory.check_before_update);
  json.EndObject();
}

static void Write(JsonWriter& json, const CpuResources& cpu) {
  json.StartObject();
  json.Some("shares", cpu.shares);
  json.Some("quota", cpu.quota);
  json.Some("burst", cpu.burst);
  json.Some("period", cpu.period);
  json.Some("realtimeRuntime", cpu.realtime_runtime);
  json.Some("realtimePeriod", cpu.realtime_period);
  json.Some("cpus", cpu.cpus);
  json.Some("mems", cpu.mems);
  json.Some("idle", cpu.idle);
  json.EndObject();
}

static void Write(JsonWriter& json, const WeightDevice& device) {
  json.StartObject();
  json.Member("major", device.major);
  json.Member("minor", device.minor);
  json.Some("weight", device.weight);
  json.Some("leafWeight", device.leaf_weight);
  json.EndObject();
}

static void Write(JsonWriter& json, const ThrottleDevice& device) {
  json.StartObject();
  json.Member("major", device.major);
  json.Member("minor", device.minor);
  json.Member("rate", device.rate);
  json.EndObject();
}

static void Write(JsonWriter& json, const BlockIoResources& io) {
  json.StartObject();
  json.Some("weight", io.weight);
  json.Some("leafWeight", io.leaf_weight);
  json.Some("weightDevice", io.weight_device);
  json.Some("throttleReadBpsDevice", io.throttle_read_bps);
  json.Some("throttleWriteBpsDevice", io.throttle_write_bps);
  json.Some("throttleReadIOPSDevice", io.throttle_read_iops);
  json.Some("throttleWriteIOPSDevice", io.throttle_write_iops);
  json.EndObject();
}

static void Write(JsonWriter& json, const HugepageLimit& limit) {
  json.StartObject();
  json.Member("pageSize", limit.page_size);
  json.Member("limit", limit.limit);
  json.EndObject();
}

static void Write(JsonWriter& json, const InterfacePriority& priority) {
  json.StartObject();
  json.Member("name", priority.name);
  json.Member("priority", priority.priority);
  json.EndObject();
}

static void Write(JsonWriter& json, const NetworkResources& network) {
  json.StartObject();
  json.Some("classID", network.class_id);
  json.Some("priorities", network.priorities);
  json.EndObject();
}

static void Write(JsonWriter& json, const RdmaLimit& limit) {
  json.StartObject();
  json.Some("hcaHandles", limit.hca_handles);
  json.Some("hcaObjects", limit.hca_objects);
  json.EndObject();
}

void Write(JsonWriter& json, const Resources& resources) {
  json.StartObject();
  json.Some("devices", resources.devices);
  json.Some("memory", resources.memory);
  json.Some("cpu", resources.cpu);
  if (resources.pids_limit.has_value()) {
    json.Key("pids");
    json.StartObject();
    json.Member("limit", *resources.pids_limit);
    json.EndObject();
  }
  json.Some("blockIO", resources.block_io);
  json.Some("hugepageLimits", resources.hugepage_limits);
  json.Some("network", resources.network);
  json.Some("rdma", resources.rdma);
  json.Some("unified", resources.unified);
  json.EndObject();
}

}  // namespace gantry::oci
