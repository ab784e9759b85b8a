// Reading statistics, version 1 and version 2 files into one struct.
#include "runtime/cgroup/stats.h"

#include <dirent.h>
#include <unistd.h>

#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/cgroup/files.h"

namespace gantry::cgroup {
namespace {

using internal::KeyedNumber;
using internal::ParseLimit;
using internal::ReadNumber;
using internal::ReadOrEmpty;

std::map<std::string, uint64_t> KeyedNumbers(absl::string_view text) {
  std::map<std::string, uint64_t> numbers;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(line, absl::MaxSplits(' ', 1));
    numbers[std::string(pair.first)] = ParseLimit(pair.second);
  }
  return numbers;
}

// The page sizes that have files "hugetlb.<size>.<suffix>" in `path`.
std::vector<std::string> HugepageSizes(const std::string& path, absl::string_view suffix) {
  struct DirCloser {
    void operator()(DIR* dir) const { closedir(dir); }
  };
  std::vector<std::string> sizes;
  const std::unique_ptr<DIR, DirCloser> dir(opendir(path.c_str()));
  if (dir == nullptr) return sizes;
  while (const dirent* entry = readdir(dir.get())) {
    absl::string_view name = entry->d_name;
    if (!absl::ConsumePrefix(&name, "hugetlb.") || !absl::ConsumeSuffix(&name, suffix)) continue;
    if (!absl::StrContains(name, ".")) sizes.emplace_back(name);
  }
  return sizes;
}

// ---- version 1 -------------------------------------------------------------------------------------------

void CpuV1(const std::string& path, CpuStats* cpu) {
  const std::string text = ReadOrEmpty(path + "/cpu.stat");
  cpu->periods = KeyedNumber(text, "nr_periods");
  cpu->throttled_periods = KeyedNumber(text, "nr_throttled");
  cpu->throttled_ns = KeyedNumber(text, "throttled_time");
  cpu->burst_periods = KeyedNumber(text, "nr_bursts");
  cpu->burst_ns = KeyedNumber(text, "burst_time");
}

void CpuacctV1(const std::string& path, CpuStats* cpu) {
  cpu->usage_ns = ReadNumber(path + "/cpuacct.usage");
  // cpuacct.stat counts in ticks; cpuacct.usage_all has nanoseconds, a line for each CPU: "cpu user system".
  uint64_t user = 0, system = 0;
  bool header = true;
  const std::string all = ReadOrEmpty(path + "/cpuacct.usage_all");
  for (absl::string_view line : absl::StrSplit(all, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (!header && fields.size() == 3) {
      user += ParseLimit(fields[1]);
      system += ParseLimit(fields[2]);
      cpu->per_cpu_ns.push_back(ParseLimit(fields[1]) + ParseLimit(fields[2]));
    }
    header = false;
  }
  cpu->user_ns = user;
  cpu->system_ns = system;
}

MemoryEntry MemoryEntryV1(const std::string& prefix) {
  MemoryEntry entry;
  entry.usage = ReadNumber(prefix + ".usage_in_bytes");
  entry.max_usage = ReadNumber(prefix + ".max_usage_in_bytes");
  entry.limit = ReadNumber(prefix + ".limit_in_bytes");
  entry.failcnt = ReadNumber(prefix + ".failcnt");
  return entry;
}

void MemoryV1(const std::string& path, MemoryStats* memory) {
  memory->usage = MemoryEntryV1(path + "/memory");
  memory->swap = MemoryEntryV1(path + "/memory.memsw");
  memory->kernel = MemoryEntryV1(path + "/memory.kmem");
  memory->kernel_tcp = MemoryEntryV1(path + "/memory.kmem.tcp");
  memory->stat = KeyedNumbers(ReadOrEmpty(path + "/memory.stat"));
  const std::string oom = ReadOrEmpty(path + "/memory.oom_control");
  memory->oom_kill_disabled = KeyedNumber(oom, "oom_kill_disable") != 0;
  memory->under_oom = KeyedNumber(oom, "under_oom") != 0;
  memory->events["oom_kill"] = KeyedNumber(oom, "oom_kill");
}

// Lines "8:0 Read 4096"; the last, "Total 4096", has no device.
std::vector<BlockIoEntry> BlockIoEntriesV1(const std::string& path, absl::string_view what) {
  std::vector<BlockIoEntry> entries;
  std::string text;
  for (const char* prefix : {"/blkio.throttle.", "/blkio.bfq.", "/blkio."}) {
    text = ReadOrEmpty(absl::StrCat(path, prefix, what, "_recursive"));
    if (text.empty()) text = ReadOrEmpty(absl::StrCat(path, prefix, what));
    if (!text.empty()) break;
  }
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> fields =
        absl::StrSplit(line, absl::ByAnyChar(" :"), absl::SkipEmpty());
    if (fields.size() != 4) continue;
    entries.push_back(
        {ParseLimit(fields[0]), ParseLimit(fields[1]), std::string(fields[2]), ParseLimit(fields[3])});
  }
  return entries;
}

void HugetlbV1(const std::string& path, std::vector<HugetlbStats>* all) {
  for (const std::string& size : HugepageSizes(path, ".usage_in_bytes")) {
    const std::string prefix = absl::StrCat(path, "/hugetlb.", size);
    all->push_back({size, ReadNumber(prefix + ".usage_in_bytes"), ReadNumber(prefix + ".max_usage_in_bytes"),
                    ReadNumber(prefix + ".failcnt")});
  }
}

// ---- version 2 -------------------------------------------------------------------------------------------

void CpuV2(const std::string& path, CpuStats* cpu) {
  constexpr uint64_t kNsPerUs = 1000;
  const std::string text = ReadOrEmpty(path + "/cpu.stat");
  cpu->usage_ns = KeyedNumber(text, "usage_usec") * kNsPerUs;
  cpu->user_ns = KeyedNumber(text, "user_usec") * kNsPerUs;
  cpu->system_ns = KeyedNumber(text, "system_usec") * kNsPerUs;
  cpu->periods = KeyedNumber(text, "nr_periods");
  cpu->throttled_periods = KeyedNumber(text, "nr_throttled");
  cpu->throttled_ns = KeyedNumber(text, "throttled_usec") * kNsPerUs;
  cpu->burst_periods = KeyedNumber(text, "nr_bursts");
  cpu->burst_ns = KeyedNumber(text, "burst_usec") * kNsPerUs;
}

void MemoryV2(const std::string& path, MemoryStats* memory) {
  memory->usage.usage = ReadNumber(path + "/memory.current");
  memory->usage.max_usage = ReadNumber(path + "/memory.peak");
  memory->usage.limit = ReadNumber(path + "/memory.max");
  memory->swap.usage = ReadNumber(path + "/memory.swap.current");
  memory->swap.max_usage = ReadNumber(path + "/memory.swap.peak");
  memory->swap.limit = ReadNumber(path + "/memory.swap.max");
  memory->stat = KeyedNumbers(ReadOrEmpty(path + "/memory.stat"));
  memory->events = KeyedNumbers(ReadOrEmpty(path + "/memory.events"));
  memory->usage.failcnt = memory->events["max"];
}

// Lines "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6".
void IoV2(const std::string& path, BlockIoStats* io) {
  const std::string text = ReadOrEmpty(path + "/io.stat");
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ' ', absl::SkipEmpty());
    const std::vector<absl::string_view> device = absl::StrSplit(fields[0], ':');
    if (device.size() != 2) continue;
    for (size_t i = 1; i < fields.size(); ++i) {
      const std::pair<absl::string_view, absl::string_view> pair =
          absl::StrSplit(fields[i], absl::MaxSplits('=', 1));
      BlockIoEntry entry{ParseLimit(device[0]), ParseLimit(device[1]), std::string(pair.first),
                         ParseLimit(pair.second)};
      (absl::EndsWith(pair.first, "bytes") ? io->service_bytes : io->serviced).push_back(std::move(entry));
    }
  }
}

void HugetlbV2(const std::string& path, std::vector<HugetlbStats>* all) {
  for (const std::string& size : HugepageSizes(path, ".current")) {
    const std::string prefix = absl::StrCat(path, "/hugetlb.", size);
    all->push_back({size, ReadNumber(prefix + ".current"), ReadNumber(prefix + ".max"),
                    KeyedNumber(ReadOrEmpty(prefix + ".events"), "max")});
  }
}

// "some avg10=0.00 avg60=0.00 avg300=0.00 total=0", then the same for "full".
std::optional<PressureStats> Pressure(const std::string& file) {
  const std::string text = ReadOrEmpty(file);
  if (text.empty()) return std::nullopt;
  PressureStats stats;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    PressureStats::Line& to = absl::StartsWith(line, "full") ? stats.full : stats.some;
    for (absl::string_view field : absl::StrSplit(line, ' ')) {
      if (absl::ConsumePrefix(&field, "avg10=")) {
        if (!absl::SimpleAtod(field, &to.avg10)) to.avg10 = 0;
      } else if (absl::ConsumePrefix(&field, "avg60=")) {
        if (!absl::SimpleAtod(field, &to.avg60)) to.avg60 = 0;
      } else if (absl::ConsumePrefix(&field, "avg300=")) {
        if (!absl::SimpleAtod(field, &to.avg300)) to.avg300 = 0;
      } else if (absl::ConsumePrefix(&field, "total=")) {
        to.total_us = ParseLimit(field);
      }
    }
  }
  return stats;
}

// Lines "mlx4_0 hca_handle=2 hca_object=2000".
std::vector<RdmaStats> Rdma(const std::string& file) {
  std::vector<RdmaStats> all;
  const std::string text = ReadOrEmpty(file);
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    RdmaStats stats;
    for (absl::string_view field : absl::StrSplit(line, ' ', absl::SkipEmpty())) {
      if (absl::ConsumePrefix(&field, "hca_handle=")) {
        stats.hca_handles = ParseLimit(field);
      } else if (absl::ConsumePrefix(&field, "hca_object=")) {
        stats.hca_objects = ParseLimit(field);
      } else {
        stats.device = std::string(field);
      }
    }
    all.push_back(std::move(stats));
  }
  return all;
}

}  // namespace

absl::StatusOr<Stats> Cgroup::GetStats() const {
  Stats stats;
  stats.unified = directories_.size() == 1 && directories_[0].version == 2;
  if (directories_.empty())
    return absl::FailedPreconditionError("the container has no cgroup: nothing was counted");
  if (access(directories_[0].path.c_str(), F_OK) != 0) {
    return absl::NotFoundError(
        absl::StrCat("the cgroup ", directories_[0].path, " is gone: nothing is left to count"));
  }
  for (const Directory& directory : directories_) {
    const std::string& path = directory.path;
    const bool v1 = directory.version == 1;
    if (directory.Has("cpu")) v1 ? CpuV1(path, &stats.cpu) : CpuV2(path, &stats.cpu);
    if (v1 && directory.Has("cpuacct")) CpuacctV1(path, &stats.cpu);
    if (directory.Has("memory")) v1 ? MemoryV1(path, &stats.memory) : MemoryV2(path, &stats.memory);
    if (v1 && directory.Has("blkio")) {
      stats.io.service_bytes = BlockIoEntriesV1(path, "io_service_bytes");
      stats.io.serviced = BlockIoEntriesV1(path, "io_serviced");
    }
    if (!v1 && directory.Has("io")) IoV2(path, &stats.io);
    if (directory.Has("hugetlb")) v1 ? HugetlbV1(path, &stats.hugetlb) : HugetlbV2(path, &stats.hugetlb);
    if (directory.Has("pids")) {
      stats.pids_current = ReadNumber(path + "/pids.current");
      const uint64_t limit = ReadNumber(path + "/pids.max");
      stats.pids_limit = limit == UINT64_MAX ? 0 : limit;
    }
    if (directory.Has("rdma")) {
      stats.rdma_current = Rdma(path + "/rdma.current");
      stats.rdma_limit = Rdma(path + "/rdma.max");
    }
    if (!v1) {
      stats.cpu_pressure = Pressure(path + "/cpu.pressure");
      stats.memory_pressure = Pressure(path + "/memory.pressure");
      stats.io_pressure = Pressure(path + "/io.pressure");
    }
  }
  return stats;
}

}  // namespace gantry::cgroup
