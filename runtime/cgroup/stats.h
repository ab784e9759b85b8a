// What a cgroup used so far: enough for containerd's io.containerd.cgroups.v1.Metrics and v2.Metrics and for
// `events --stats`. A file that the kernel doesn't have leaves its members at 0 (or the optional empty).
#ifndef GANTRY_RUNTIME_CGROUP_STATS_H_
#define GANTRY_RUNTIME_CGROUP_STATS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace gantry::cgroup {

struct CpuStats {
  uint64_t usage_ns = 0;
  uint64_t user_ns = 0;
  uint64_t system_ns = 0;
  std::vector<uint64_t> per_cpu_ns;  // v1 only
  uint64_t periods = 0;              // throttling
  uint64_t throttled_periods = 0;
  uint64_t throttled_ns = 0;
  uint64_t burst_periods = 0;
  uint64_t burst_ns = 0;
};

struct MemoryEntry {  // bytes
  uint64_t usage = 0;
  uint64_t max_usage = 0;
  uint64_t limit = 0;  // UINT64_MAX: none
  uint64_t failcnt = 0;
};

struct MemoryStats {
  MemoryEntry usage;
  MemoryEntry swap;    // v1: memory+swap; v2: swap alone
  MemoryEntry kernel;  // v1 only, as the next
  MemoryEntry kernel_tcp;
  std::map<std::string, uint64_t> stat;  // memory.stat as it is: "cache", "total_inactive_file", "anon", ...
  std::map<std::string, uint64_t> events;  // v2's memory.events; v1: "oom_kill" of memory.oom_control
  bool oom_kill_disabled = false;          // v1 only, as the next
  bool under_oom = false;
};

struct BlockIoEntry {
  uint64_t major = 0;
  uint64_t minor = 0;
  std::string
      op;  // "Read", "Write", "Sync", "Async", "Discard", "Total"; v2: "rbytes", "wbytes", "rios", "wios"
  uint64_t value = 0;
};

struct BlockIoStats {
  // v1: blkio.throttle.io_service_bytes_recursive and io_serviced_recursive, else their bfq or plain forms.
  // v2: io.stat, bytes and operations apart.
  std::vector<BlockIoEntry> service_bytes;
  std::vector<BlockIoEntry> serviced;
};

struct HugetlbStats {
  std::string page_size;  // "2MB"
  uint64_t usage = 0;     // bytes
  uint64_t max_usage = 0;
  uint64_t failcnt = 0;
};

struct PressureStats {  // v2: *.pressure, "some" and "full"
  struct Line {
    double avg10 = 0, avg60 = 0, avg300 = 0;
    uint64_t total_us = 0;
  };
  Line some, full;
};

struct RdmaStats {
  std::string device;
  uint64_t hca_handles = 0;
  uint64_t hca_objects = 0;
};

struct Stats {
  bool unified = false;  // which of the two Metrics messages fits
  uint64_t pids_current = 0;
  uint64_t pids_limit = 0;  // 0: none
  CpuStats cpu;
  MemoryStats memory;
  BlockIoStats io;
  std::vector<HugetlbStats> hugetlb;
  std::vector<RdmaStats> rdma_current, rdma_limit;
  std::optional<PressureStats> cpu_pressure, memory_pressure, io_pressure;
};

}  // namespace gantry::cgroup

#endif  // GANTRY_RUNTIME_CGROUP_STATS_H_
