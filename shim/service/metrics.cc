#include "shim/service/metrics.h"

#include <map>
#include <string>
#include <utility>

#include "api/any/any.h"
#include "api/proto/containerd/cgroups/v1/metrics.pb.h"
#include "api/proto/containerd/cgroups/v2/metrics.pb.h"

namespace gantry::shim {
namespace {

namespace v1 = io::containerd::cgroups::v1;
namespace v2 = io::containerd::cgroups::v2;

// memory.stat's names beside the setters of a message.
template <typename Message>
struct Setter {
  const char* name;
  void (Message::*set)(uint64_t);
};

template <typename Message, size_t N>
void SetAll(const std::map<std::string, uint64_t>& values, const Setter<Message> (&setters)[N],
            Message* message) {
  for (const Setter<Message>& setter : setters) {
    const auto it = values.find(setter.name);
    if (it != values.end()) (message->*setter.set)(it->second);
  }
}

constexpr Setter<v1::MemoryStat> kMemoryV1[] = {
    {"cache", &v1::MemoryStat::set_cache},
    {"rss", &v1::MemoryStat::set_rss},
    {"rss_huge", &v1::MemoryStat::set_rss_huge},
    {"mapped_file", &v1::MemoryStat::set_mapped_file},
    {"dirty", &v1::MemoryStat::set_dirty},
    {"writeback", &v1::MemoryStat::set_writeback},
    {"pgpgin", &v1::MemoryStat::set_pg_pg_in},
    {"pgpgout", &v1::MemoryStat::set_pg_pg_out},
    {"pgfault", &v1::MemoryStat::set_pg_fault},
    {"pgmajfault", &v1::MemoryStat::set_pg_maj_fault},
    {"inactive_anon", &v1::MemoryStat::set_inactive_anon},
    {"active_anon", &v1::MemoryStat::set_active_anon},
    {"inactive_file", &v1::MemoryStat::set_inactive_file},
    {"active_file", &v1::MemoryStat::set_active_file},
    {"unevictable", &v1::MemoryStat::set_unevictable},
    {"hierarchical_memory_limit", &v1::MemoryStat::set_hierarchical_memory_limit},
    {"hierarchical_memsw_limit", &v1::MemoryStat::set_hierarchical_swap_limit},
    {"total_cache", &v1::MemoryStat::set_total_cache},
    {"total_rss", &v1::MemoryStat::set_total_rss},
    {"total_rss_huge", &v1::MemoryStat::set_total_rss_huge},
    {"total_mapped_file", &v1::MemoryStat::set_total_mapped_file},
    {"total_dirty", &v1::MemoryStat::set_total_dirty},
    {"total_writeback", &v1::MemoryStat::set_total_writeback},
    {"total_pgpgin", &v1::MemoryStat::set_total_pg_pg_in},
    {"total_pgpgout", &v1::MemoryStat::set_total_pg_pg_out},
    {"total_pgfault", &v1::MemoryStat::set_total_pg_fault},
    {"total_pgmajfault", &v1::MemoryStat::set_total_pg_maj_fault},
    {"total_inactive_anon", &v1::MemoryStat::set_total_inactive_anon},
    {"total_active_anon", &v1::MemoryStat::set_total_active_anon},
    {"total_inactive_file", &v1::MemoryStat::set_total_inactive_file},
    {"total_active_file", &v1::MemoryStat::set_total_active_file},
    {"total_unevictable", &v1::MemoryStat::set_total_unevictable}};

constexpr Setter<v2::MemoryStat> kMemoryV2[] = {
    {"anon", &v2::MemoryStat::set_anon},
    {"file", &v2::MemoryStat::set_file},
    {"kernel_stack", &v2::MemoryStat::set_kernel_stack},
    {"slab", &v2::MemoryStat::set_slab},
    {"sock", &v2::MemoryStat::set_sock},
    {"shmem", &v2::MemoryStat::set_shmem},
    {"file_mapped", &v2::MemoryStat::set_file_mapped},
    {"file_dirty", &v2::MemoryStat::set_file_dirty},
    {"file_writeback", &v2::MemoryStat::set_file_writeback},
    {"anon_thp", &v2::MemoryStat::set_anon_thp},
    {"inactive_anon", &v2::MemoryStat::set_inactive_anon},
    {"active_anon", &v2::MemoryStat::set_active_anon},
    {"inactive_file", &v2::MemoryStat::set_inactive_file},
    {"active_file", &v2::MemoryStat::set_active_file},
    {"unevictable", &v2::MemoryStat::set_unevictable},
    {"slab_reclaimable", &v2::MemoryStat::set_slab_reclaimable},
    {"slab_unreclaimable", &v2::MemoryStat::set_slab_unreclaimable},
    {"pgfault", &v2::MemoryStat::set_pgfault},
    {"pgmajfault", &v2::MemoryStat::set_pgmajfault},
    {"workingset_refault_anon", &v2::MemoryStat::set_workingset_refault_anon},
    {"workingset_refault_file", &v2::MemoryStat::set_workingset_refault_file},
    {"workingset_activate_anon", &v2::MemoryStat::set_workingset_activate_anon},
    {"workingset_activate_file", &v2::MemoryStat::set_workingset_activate_file},
    {"workingset_nodereclaim", &v2::MemoryStat::set_workingset_nodereclaim},
    {"pgrefill", &v2::MemoryStat::set_pgrefill},
    {"pgscan", &v2::MemoryStat::set_pgscan},
    {"pgsteal", &v2::MemoryStat::set_pgsteal},
    {"pgactivate", &v2::MemoryStat::set_pgactivate},
    {"pgdeactivate", &v2::MemoryStat::set_pgdeactivate},
    {"pglazyfree", &v2::MemoryStat::set_pglazyfree},
    {"pglazyfreed", &v2::MemoryStat::set_pglazyfreed},
    {"thp_fault_alloc", &v2::MemoryStat::set_thp_fault_alloc},
    {"thp_collapse_alloc", &v2::MemoryStat::set_thp_collapse_alloc}};

constexpr Setter<v2::MemoryEvents> kMemoryEvents[] = {
    {"low", &v2::MemoryEvents::set_low},           {"high", &v2::MemoryEvents::set_high},
    {"max", &v2::MemoryEvents::set_max},           {"oom", &v2::MemoryEvents::set_oom},
    {"oom_kill", &v2::MemoryEvents::set_oom_kill}, {"oom_group_kill", &v2::MemoryEvents::set_oom_group_kill}};

void Copy(const cgroup::MemoryEntry& from, v1::MemoryEntry* to) {
  to->set_limit(from.limit);
  to->set_usage(from.usage);
  to->set_max(from.max_usage);
  to->set_failcnt(from.failcnt);
}

void Copy(const cgroup::BlockIoEntry& from, v1::BlkIOEntry* to) {
  to->set_op(from.op);
  to->set_major(from.major);
  to->set_minor(from.minor);
  to->set_value(from.value);
}

void CopyMemory(const cgroup::MemoryStats& from, v1::Metrics* to) {
  v1::MemoryStat* memory = to->mutable_memory();
  SetAll(from.stat, kMemoryV1, memory);
  Copy(from.usage, memory->mutable_usage());
  Copy(from.swap, memory->mutable_swap());
  Copy(from.kernel, memory->mutable_kernel());
  Copy(from.kernel_tcp, memory->mutable_kernel_tcp());
  v1::MemoryOomControl* oom = to->mutable_memory_oom_control();
  oom->set_oom_kill_disable(from.oom_kill_disabled);
  oom->set_under_oom(from.under_oom);
  const auto kills = from.events.find("oom_kill");
  if (kills != from.events.end()) oom->set_oom_kill(kills->second);
}

v1::Metrics MakeV1(const cgroup::Stats& stats) {
  v1::Metrics metrics;
  metrics.mutable_pids()->set_current(stats.pids_current);
  metrics.mutable_pids()->set_limit(stats.pids_limit);
  v1::CPUUsage* usage = metrics.mutable_cpu()->mutable_usage();
  usage->set_total(stats.cpu.usage_ns);
  usage->set_kernel(stats.cpu.system_ns);
  usage->set_user(stats.cpu.user_ns);
  for (uint64_t one : stats.cpu.per_cpu_ns) usage->add_per_cpu(one);
  v1::Throttle* throttle = metrics.mutable_cpu()->mutable_throttling();
  throttle->set_periods(stats.cpu.periods);
  throttle->set_throttled_periods(stats.cpu.throttled_periods);
  throttle->set_throttled_time(stats.cpu.throttled_ns);
  CopyMemory(stats.memory, &metrics);
  for (const auto& entry : stats.io.service_bytes) {
    Copy(entry, metrics.mutable_blkio()->add_io_service_bytes_recursive());
  }
  for (const auto& entry : stats.io.serviced) {
    Copy(entry, metrics.mutable_blkio()->add_io_serviced_recursive());
  }
  for (const auto& entry : stats.hugetlb) {
    v1::HugetlbStat* hugetlb = metrics.add_hugetlb();
    hugetlb->set_usage(entry.usage);
    hugetlb->set_max(entry.max_usage);
    hugetlb->set_failcnt(entry.failcnt);
    hugetlb->set_pagesize(entry.page_size);
  }
  return metrics;
}

void Copy(const cgroup::PressureStats::Line& from, v2::PSIData* to) {
  to->set_avg10(from.avg10);
  to->set_avg60(from.avg60);
  to->set_avg300(from.avg300);
  to->set_total(from.total_us);
}

void Copy(const cgroup::PressureStats& from, v2::PSIStats* to) {
  Copy(from.some, to->mutable_some());
  Copy(from.full, to->mutable_full());
}

void CopyIo(const cgroup::BlockIoStats& from, v2::IOStat* to) {
  std::map<std::pair<uint64_t, uint64_t>, v2::IOEntry*> devices;
  for (const auto* list : {&from.service_bytes, &from.serviced}) {
    for (const cgroup::BlockIoEntry& entry : *list) {
      v2::IOEntry*& device = devices[{entry.major, entry.minor}];
      if (device == nullptr) {
        device = to->add_usage();
        device->set_major(entry.major);
        device->set_minor(entry.minor);
      }
      if (entry.op == "rbytes") device->set_rbytes(entry.value);
      if (entry.op == "wbytes") device->set_wbytes(entry.value);
      if (entry.op == "rios") device->set_rios(entry.value);
      if (entry.op == "wios") device->set_wios(entry.value);
    }
  }
}

v2::Metrics MakeV2(const cgroup::Stats& stats) {
  v2::Metrics metrics;
  metrics.mutable_pids()->set_current(stats.pids_current);
  metrics.mutable_pids()->set_limit(stats.pids_limit);
  v2::CPUStat* cpu = metrics.mutable_cpu();
  cpu->set_usage_usec(stats.cpu.usage_ns / 1000);
  cpu->set_user_usec(stats.cpu.user_ns / 1000);
  cpu->set_system_usec(stats.cpu.system_ns / 1000);
  cpu->set_nr_periods(stats.cpu.periods);
  cpu->set_nr_throttled(stats.cpu.throttled_periods);
  cpu->set_throttled_usec(stats.cpu.throttled_ns / 1000);
  cpu->set_nr_bursts(stats.cpu.burst_periods);
  cpu->set_burst_usec(stats.cpu.burst_ns / 1000);
  if (stats.cpu_pressure) Copy(*stats.cpu_pressure, cpu->mutable_psi());
  v2::MemoryStat* memory = metrics.mutable_memory();
  SetAll(stats.memory.stat, kMemoryV2, memory);
  memory->set_usage(stats.memory.usage.usage);
  memory->set_usage_limit(stats.memory.usage.limit);
  memory->set_max_usage(stats.memory.usage.max_usage);
  memory->set_swap_usage(stats.memory.swap.usage);
  memory->set_swap_limit(stats.memory.swap.limit);
  memory->set_swap_max_usage(stats.memory.swap.max_usage);
  if (stats.memory_pressure) Copy(*stats.memory_pressure, memory->mutable_psi());
  SetAll(stats.memory.events, kMemoryEvents, metrics.mutable_memory_events());
  CopyIo(stats.io, metrics.mutable_io());
  if (stats.io_pressure) Copy(*stats.io_pressure, metrics.mutable_io()->mutable_psi());
  for (const auto& entry : stats.hugetlb) {
    v2::HugeTlbStat* hugetlb = metrics.add_hugetlb();
    hugetlb->set_current(entry.usage);
    hugetlb->set_max(entry.max_usage);
    hugetlb->set_failcnt(entry.failcnt);
    hugetlb->set_pagesize(entry.page_size);
  }
  return metrics;
}

template <typename Metrics>
void AddRdma(const cgroup::Stats& stats, Metrics* metrics) {
  auto copy = [](const cgroup::RdmaStats& from, auto* to) {
    to->set_device(from.device);
    to->set_hca_handles(static_cast<uint32_t>(from.hca_handles));
    to->set_hca_objects(static_cast<uint32_t>(from.hca_objects));
  };
  for (const auto& entry : stats.rdma_current) copy(entry, metrics->mutable_rdma()->add_current());
  for (const auto& entry : stats.rdma_limit) copy(entry, metrics->mutable_rdma()->add_limit());
}

}  // namespace

void PackMetrics(const cgroup::Stats& stats, google::protobuf::Any* any) {
  if (stats.unified) {
    v2::Metrics metrics = MakeV2(stats);
    AddRdma(stats, &metrics);
    any::Pack(metrics, any);
  } else {
    v1::Metrics metrics = MakeV1(stats);
    AddRdma(stats, &metrics);
    any::Pack(metrics, any);
  }
}

}  // namespace gantry::shim
