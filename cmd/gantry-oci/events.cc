// events: statistics and out-of-memory kills, one JSON document a line.
#include <poll.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "cmd/gantry-oci/context.h"
#include "runtime/oci/json_writer.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/status.h"

namespace gantry::oci_cli {
namespace {

using oci::JsonWriter;

void WriteCpu(JsonWriter* json, const cgroup::CpuStats& cpu) {
  json->Key("cpu");
  json->StartObject();
  json->Key("usage");
  json->StartObject();
  json->Member("total", cpu.usage_ns);
  json->Some("percpu", cpu.per_cpu_ns);
  json->Member("kernel", cpu.system_ns);
  json->Member("user", cpu.user_ns);
  json->EndObject();
  json->Key("throttling");
  json->StartObject();
  json->Some("periods", cpu.periods);
  json->Some("throttledPeriods", cpu.throttled_periods);
  json->Some("throttledTime", cpu.throttled_ns);
  json->EndObject();
  json->EndObject();
}

void WriteMemoryEntry(JsonWriter* json, const char* name, const cgroup::MemoryEntry& entry) {
  json->Key(name);
  json->StartObject();
  json->Member("limit", entry.limit);
  json->Some("usage", entry.usage);
  json->Some("max", entry.max_usage);
  json->Member("failcnt", entry.failcnt);
  json->EndObject();
}

void WriteMemory(JsonWriter* json, const cgroup::MemoryStats& memory, bool unified) {
  json->Key("memory");
  json->StartObject();
  const auto cache = memory.stat.find(unified ? "file" : "cache");
  if (cache != memory.stat.end()) json->Some("cache", cache->second);
  WriteMemoryEntry(json, "usage", memory.usage);
  WriteMemoryEntry(json, "swap", memory.swap);
  WriteMemoryEntry(json, "kernel", memory.kernel);
  WriteMemoryEntry(json, "kernelTCP", memory.kernel_tcp);
  json->Some("raw", memory.stat);
  json->EndObject();
}

void WriteBlockIo(JsonWriter* json, const cgroup::BlockIoStats& io) {
  const auto list = [json](const char* name, const std::vector<cgroup::BlockIoEntry>& entries) {
    if (entries.empty()) return;
    json->Key(name);
    json->StartArray();
    for (const cgroup::BlockIoEntry& entry : entries) {
      json->StartObject();
      json->Some("major", entry.major);
      json->Some("minor", entry.minor);
      json->Some("op", entry.op);
      json->Some("value", entry.value);
      json->EndObject();
    }
    json->EndArray();
  };
  json->Key("blkio");
  json->StartObject();
  list("ioServiceBytesRecursive", io.service_bytes);
  list("ioServicedRecursive", io.serviced);
  json->EndObject();
}

std::string StatsLine(const std::string& id, const cgroup::Stats& stats) {
  JsonWriter json(false);
  json.StartObject();
  json.Member("type", "stats");
  json.Member("id", id);
  json.Key("data");
  json.StartObject();
  WriteCpu(&json, stats.cpu);
  WriteMemory(&json, stats.memory, stats.unified);
  json.Key("pids");
  json.StartObject();
  json.Some("current", stats.pids_current);
  json.Some("limit", stats.pids_limit);
  json.EndObject();
  WriteBlockIo(&json, stats.io);
  json.Key("hugetlb");
  json.StartObject();
  for (const cgroup::HugetlbStats& pages : stats.hugetlb) {
    json.Key(pages.page_size);
    json.StartObject();
    json.Some("usage", pages.usage);
    json.Some("max", pages.max_usage);
    json.Member("failcnt", pages.failcnt);
    json.EndObject();
  }
  json.EndObject();
  json.EndObject();
  json.EndObject();
  return json.Take() + "\n";
}

absl::Status PrintStats(const Loaded& container) {
  GANTRY_ASSIGN_OR_RETURN(const cgroup::Stats stats, container.group().GetStats());
  return Print(StatsLine(container.saved.id, stats));
}

absl::Status PrintOom(const std::string& id) {
  JsonWriter json(false);
  json.StartObject();
  json.Member("type", "oom");
  json.Member("id", id);
  json.EndObject();
  return Print(json.Take() + "\n");
}

// Until the container's init ends.
absl::Status Follow(const Loaded& container, int64_t interval_ms) {
  GANTRY_ASSIGN_OR_RETURN(const sys::PidFd init, sys::PidFd::Open(container.saved.pid));
  auto watch = container.group().WatchOom();  // without a memory controller there are statistics still
  const int oom_fd = watch.ok() ? watch->fd() : -1;
  sys::Deadline next = sys::Deadline::After(absl::ZeroDuration());
  for (;;) {
    if (next.Passed()) {
      GANTRY_RETURN_IF_ERROR(PrintStats(container));
      next = sys::Deadline::After(absl::Milliseconds(interval_ms));
    }
    pollfd fds[] = {{init.fd(), POLLIN, 0}, {oom_fd, POLLIN, 0}};
    if (poll(fds, 2, next.PollTimeout()) < 0 && errno != EINTR) return sys::ErrnoStatus("poll", "");
    if (fds[1].revents != 0 && watch->Read()) GANTRY_RETURN_IF_ERROR(PrintOom(container.saved.id));
    if (fds[0].revents != 0) return absl::OkStatus();
  }
}

}  // namespace

Result Events(const Context& context, const Arguments& arguments) {
  GANTRY_ASSIGN_OR_RETURN(const Loaded container, Load(context, arguments.positional()[0]));
  if (container.status == oci::Status::kStopped) {
    return absl::FailedPreconditionError(
        absl::StrCat("container \"", container.saved.id, "\" is stopped: it has no events"));
  }
  if (arguments.Has("stats")) {
    GANTRY_RETURN_IF_ERROR(PrintStats(container));
    return 0;
  }
  GANTRY_ASSIGN_OR_RETURN(const int64_t interval_ms,
                          ParseMilliseconds(arguments.Find("interval").value_or("5s")));
  GANTRY_RETURN_IF_ERROR(Follow(container, interval_ms));
  return 0;
}

}  // namespace gantry::oci_cli
