// Memory, CPU and block I/O limits as file writes, for both versions.
#include "absl/strings/str_cat.h"
#include "runtime/cgroup/plan_internal.h"

namespace gantry::cgroup::internal {
namespace {

std::string OrMax(int64_t limit) { return limit < 0 ? "max" : absl::StrCat(limit); }

// Docker's and kubelet's JSON hold 0 for "not asked for".
bool Asked(const std::optional<int64_t>& limit) { return limit.value_or(0) != 0; }

void PlanMemoryV1(Planner* planner, const Directory* directory, const oci::MemoryResources& memory) {
  const bool swap = Asked(memory.swap);
  // Memory must never exceed memory+swap: what is unlimited is unlimited from the outside in.
  const bool widen = memory.limit == -1;
  if (widen) planner->Add(directory, "memory.memsw.limit_in_bytes", "-1", "memory.swap");
  if (Asked(memory.limit)) {
    planner->Add(directory, "memory.limit_in_bytes", absl::StrCat(*memory.limit), "memory.limit");
  }
  if (swap && !(widen && memory.swap == -1)) {
    planner->Add(directory, "memory.memsw.limit_in_bytes", absl::StrCat(*memory.swap), "memory.swap");
  }
  if (Asked(memory.reservation)) {
    planner->Add(directory, "memory.soft_limit_in_bytes", absl::StrCat(*memory.reservation),
                 "memory.reservation");
  }
  if (Asked(memory.kernel_tcp)) {
    planner->Add(directory, "memory.kmem.tcp.limit_in_bytes", absl::StrCat(*memory.kernel_tcp),
                 "memory.kernelTCP");
  }
  if (memory.swappiness.has_value()) {
    planner->Add(directory, "memory.swappiness", absl::StrCat(*memory.swappiness), "memory.swappiness");
  }
  if (memory.disable_oom_killer.has_value() && *memory.disable_oom_killer) {
    planner->Add(directory, "memory.oom_control", "1", "memory.disableOOMKiller");
  }
}

void PlanMemoryV2(Planner* planner, const Directory* directory, const oci::MemoryResources& memory) {
  if (Asked(memory.swap)) {
    if (*memory.swap < 0) {
      planner->Add(directory, "memory.swap.max", "max", "memory.swap");
      planner->MayBeMissing();
    } else if (memory.limit.value_or(0) <= 0) {
      planner->Fail(absl::InvalidArgumentError(
          "linux.resources.memory.swap: is memory and swap together; cgroup version 2 limits swap alone, "
          "so memory.limit must be given too"));
    } else {
      planner->Add(directory, "memory.swap.max", absl::StrCat(*memory.swap - *memory.limit), "memory.swap");
      if (*memory.swap == *memory.limit) planner->MayBeMissing();
    }
  }
  if (Asked(memory.limit)) planner->Add(directory, "memory.max", OrMax(*memory.limit), "memory.limit");
  if (Asked(memory.reservation)) {
    planner->Add(directory, "memory.low", OrMax(*memory.reservation), "memory.reservation");
  }
  // swappiness, kernelTCP and disableOOMKiller don't exist in version 2, and are ignored there by all runtimes.
}

void PlanCpuV1(Planner* planner, const Directory* directory, const oci::CpuResources& cpu) {
  if (cpu.shares.value_or(0) != 0)
    planner->Add(directory, "cpu.shares", absl::StrCat(*cpu.shares), "cpu.shares");
  if (cpu.period.value_or(0) != 0) {
    planner->Add(directory, "cpu.cfs_period_us", absl::StrCat(*cpu.period), "cpu.period");
  }
  if (cpu.quota.value_or(0) != 0) {
    planner->Add(directory, "cpu.cfs_quota_us", absl::StrCat(*cpu.quota), "cpu.quota");
  }
  if (cpu.burst.has_value())
    planner->Add(directory, "cpu.cfs_burst_us", absl::StrCat(*cpu.burst), "cpu.burst");
  if (cpu.realtime_period.value_or(0) != 0) {
    planner->Add(directory, "cpu.rt_period_us", absl::StrCat(*cpu.realtime_period), "cpu.realtimePeriod");
  }
  if (cpu.realtime_runtime.value_or(0) != 0) {
    planner->Add(directory, "cpu.rt_runtime_us", absl::StrCat(*cpu.realtime_runtime), "cpu.realtimeRuntime");
  }
  if (cpu.idle.has_value()) planner->Add(directory, "cpu.idle", absl::StrCat(*cpu.idle), "cpu.idle");
}

void PlanCpuV2(Planner* planner, const Directory* directory, const oci::CpuResources& cpu) {
  // Weight and idle exclude each other: an idle group has no weight to set.
  if (cpu.idle.has_value()) planner->Add(directory, "cpu.idle", absl::StrCat(*cpu.idle), "cpu.idle");
  if (cpu.shares.value_or(0) != 0 && cpu.idle.value_or(0) == 0) {
    planner->Add(directory, "cpu.weight", absl::StrCat(WeightFromShares(*cpu.shares)), "cpu.shares");
  }
  if (cpu.quota.value_or(0) != 0 || cpu.period.value_or(0) != 0) {
    const int64_t quota = cpu.quota.value_or(0);
    std::string value = quota > 0 ? absl::StrCat(quota) : "max";
    if (cpu.period.value_or(0) != 0) absl::StrAppend(&value, " ", *cpu.period);
    planner->Add(directory, "cpu.max", value, "cpu.quota");
  }
  if (cpu.burst.has_value()) planner->Add(directory, "cpu.max.burst", absl::StrCat(*cpu.burst), "cpu.burst");
  if (cpu.realtime_runtime.value_or(0) != 0 || cpu.realtime_period.value_or(0) != 0) {
    planner->Fail(absl::FailedPreconditionError(
        "linux.resources.cpu.realtimeRuntime: cgroup version 2 has no limits for real-time processes"));
  }
}

std::string DeviceLine(int64_t major, int64_t minor, absl::string_view value) {
  return absl::StrCat(major, ":", minor, " ", value);
}

void PlanWeights(Planner* planner, const Directory* directory, const oci::BlockIoResources& io) {
  const bool v1 = directory->version == 1;
  const auto weight = [&](const std::string& prefix, uint64_t value, absl::string_view setting, bool device) {
    const std::string plain = absl::StrCat(prefix, value);
    if (v1) {
      // Kernels without CFQ (5.0 and later) know the BFQ scheduler's names only.
      planner->AddOr(directory, device ? "blkio.weight_device" : "blkio.weight", plain,
                     device ? "blkio.bfq.weight_device" : "blkio.bfq.weight", plain, setting);
    } else {
      planner->AddOr(directory, "io.weight", absl::StrCat(prefix, IoWeightFromBlkio(value)), "io.bfq.weight",
                     plain, setting);
    }
  };
  if (io.weight.value_or(0) != 0) weight("", *io.weight, "blockIO.weight", false);
  if (v1 && io.leaf_weight.value_or(0) != 0) {
    planner->Add(directory, "blkio.leaf_weight", absl::StrCat(*io.leaf_weight), "blockIO.leafWeight");
  }
  for (const oci::WeightDevice& device : io.weight_device) {
    const std::string prefix = DeviceLine(device.major, device.minor, "");
    if (device.weight.value_or(0) != 0) weight(prefix, *device.weight, "blockIO.weightDevice", true);
    if (v1 && device.leaf_weight.value_or(0) != 0) {
      planner->Add(directory, "blkio.leaf_weight_device", absl::StrCat(prefix, *device.leaf_weight),
                   "blockIO.weightDevice");
    }
  }
}

}  // namespace

void PlanMemory(Planner* planner, const oci::MemoryResources& memory) {
  // The kernel's own memory cannot be limited apart since 5.16; "kernel" is ignored, as the specification allows.
  const bool asked = Asked(memory.limit) || Asked(memory.reservation) || Asked(memory.swap) ||
                     Asked(memory.kernel_tcp) || memory.swappiness.has_value() ||
                     memory.disable_oom_killer.value_or(false);
  if (!asked) return;
  const Directory* directory = planner->Need("memory", "memory.limit");
  if (directory == nullptr) return;
  directory->version == 1 ? PlanMemoryV1(planner, directory, memory)
                          : PlanMemoryV2(planner, directory, memory);
}

void PlanCpu(Planner* planner, const oci::CpuResources& cpu) {
  const bool time = cpu.shares.value_or(0) != 0 || cpu.quota.value_or(0) != 0 ||
                    cpu.period.value_or(0) != 0 || cpu.burst.has_value() || cpu.idle.has_value() ||
                    cpu.realtime_runtime.value_or(0) != 0 || cpu.realtime_period.value_or(0) != 0;
  if (time) {
    const Directory* directory = planner->Need("cpu", "cpu");
    if (directory == nullptr) return;
    directory->version == 1 ? PlanCpuV1(planner, directory, cpu) : PlanCpuV2(planner, directory, cpu);
  }
  if (!cpu.cpus.empty())
    planner->Add(planner->Need("cpuset", "cpu.cpus"), "cpuset.cpus", cpu.cpus, "cpu.cpus");
  if (!cpu.mems.empty())
    planner->Add(planner->Need("cpuset", "cpu.mems"), "cpuset.mems", cpu.mems, "cpu.mems");
}

void PlanBlockIo(Planner* planner, const oci::BlockIoResources& io) {
  const bool asked = io.weight.value_or(0) != 0 || io.leaf_weight.value_or(0) != 0 ||
                     !io.weight_device.empty() || !io.throttle_read_bps.empty() ||
                     !io.throttle_write_bps.empty() || !io.throttle_read_iops.empty() ||
                     !io.throttle_write_iops.empty();
  if (!asked) return;
  const Directory* directory = planner->Find("blkio");
  if (directory == nullptr) directory = planner->Need("io", "blockIO");
  if (directory == nullptr) return;
  PlanWeights(planner, directory, io);
  struct Throttle {
    const std::vector<oci::ThrottleDevice>& devices;
    const char* v1_file;
    const char* v2_key;
    const char* setting;
  };
  const Throttle throttles[] = {
      {io.throttle_read_bps, "blkio.throttle.read_bps_device", "rbps", "blockIO.throttleReadBpsDevice"},
      {io.throttle_write_bps, "blkio.throttle.write_bps_device", "wbps", "blockIO.throttleWriteBpsDevice"},
      {io.throttle_read_iops, "blkio.throttle.read_iops_device", "riops", "blockIO.throttleReadIOPSDevice"},
      {io.throttle_write_iops, "blkio.throttle.write_iops_device", "wiops",
       "blockIO.throttleWriteIOPSDevice"},
  };
  for (const Throttle& throttle : throttles) {
    for (const oci::ThrottleDevice& device : throttle.devices) {
      if (directory->version == 1) {
        planner->Add(directory, throttle.v1_file,
                     DeviceLine(device.major, device.minor, absl::StrCat(device.rate)), throttle.setting);
      } else {
        const std::string rate = device.rate == 0 ? "max" : absl::StrCat(device.rate);
        planner->Add(directory, "io.max",
                     DeviceLine(device.major, device.minor, absl::StrCat(throttle.v2_key, "=", rate)),
                     throttle.setting);
      }
    }
  }
}

}  // namespace gantry::cgroup::internal
