// The systemd driver's part of a plan: the scope, its path, and its properties.
#include <algorithm>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/cgroup/plan_internal.h"
#include "runtime/sys/status.h"

namespace gantry::cgroup::internal {
namespace {

using sys::DBusValue;

constexpr uint64_t kInfinity = std::numeric_limits<uint64_t>::max();
constexpr uint64_t kUsPerSecond = 1000000;
constexpr uint64_t kDefaultPeriodUs = 100000;
constexpr size_t kMaxUnitName = 255;
constexpr char kPropertyPrefix[] = "org.systemd.property.";

// What an annotation may set: how the scope is described, stopped and collected, and what it may use. Never what
// makes systemd start, stop or run anything else (OnFailure=, Conflicts=, SuccessAction=, ...), nor what we set.
constexpr const char* kAllowedProperties[] = {"After",
                                              "AllowedCPUs",
                                              "AllowedMemoryNodes",
                                              "Before",
                                              "CollectMode",
                                              "CPUQuotaPeriodUSec",
                                              "CPUQuotaPerSecUSec",
                                              "CPUWeight",
                                              "Description",
                                              "Documentation",
                                              "FinalKillSignal",
                                              "IOWeight",
                                              "KillMode",
                                              "KillSignal",
                                              "ManagedOOMMemoryPressure",
                                              "ManagedOOMPreference",
                                              "ManagedOOMSwap",
                                              "MemoryHigh",
                                              "MemoryLow",
                                              "MemoryMax",
                                              "MemoryMin",
                                              "MemorySwapMax",
                                              "MemoryZSwapMax",
                                              "OOMPolicy",
                                              "RestartKillSignal",
                                              "RuntimeMaxUSec",
                                              "SendSIGHUP",
                                              "SendSIGKILL",
                                              "StartupCPUWeight",
                                              "StartupIOWeight",
                                              "TasksMax",
                                              "TimeoutStopUSec"};

bool IsUnitCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || absl::StrContains(":-_.\\@", c);
}

absl::Status BadPath(const Placement& placement, absl::string_view rule) {
  return absl::InvalidArgumentError(
      absl::StrCat("linux.cgroupsPath: with the systemd driver it is \"slice:prefix:name\"; ", rule,
                   ", found \"", placement.cgroups_path, "\""));
}

// "/a.slice/a-b.slice" of "a-b.slice"; "" of the root "-.slice". Empty optional: no name of a slice.
std::optional<std::string> ExpandSlice(absl::string_view slice) {
  if (slice == "-.slice") return "";
  const std::string whole(slice);
  if (!absl::ConsumeSuffix(&slice, ".slice") || slice.empty() || whole.size() > kMaxUnitName)
    return std::nullopt;
  if (!std::all_of(slice.begin(), slice.end(), IsUnitCharacter)) return std::nullopt;
  std::string path, prefix;
  for (absl::string_view part : absl::StrSplit(slice, '-')) {
    if (part.empty()) return std::nullopt;
    absl::StrAppend(&prefix, prefix.empty() ? "" : "-", part);
    absl::StrAppend(&path, "/", prefix, ".slice");
  }
  return path;
}

void Add(Plan* plan, const char* name, DBusValue value, bool optional = false) {
  plan->scope->properties.push_back({name, std::move(value), optional});
}
void AddNumber(Plan* plan, const char* name, uint64_t value, bool optional = false) {
  Add(plan, name, DBusValue::Uint64(value), optional);
}

// The version that serves `controller`; 0 if none does.
int VersionOf(const Plan& plan, absl::string_view controller) {
  for (const Directory& directory : plan.directories) {
    if (directory.Has(controller)) return directory.version;
  }
  return 0;
}

// "0-3,8" as the bit mask of AllowedCPUs: byte 0 has the lowest. Validate has bounded the numbers.
DBusValue BitsOf(absl::string_view list) {
  constexpr uint64_t kMaxNumber = 8192;
  std::vector<DBusValue> bytes;
  for (absl::string_view range : absl::StrSplit(list, ',', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> ends =
        absl::StrSplit(absl::StripAsciiWhitespace(range), absl::MaxSplits('-', 1));
    uint64_t first = 0, last = 0;
    if (!absl::SimpleAtoi(ends.first, &first)) continue;
    if (ends.second.empty() || !absl::SimpleAtoi(ends.second, &last)) last = first;
    for (uint64_t bit = first; bit <= last && bit < kMaxNumber; ++bit) {
      while (bytes.size() <= bit / 8) bytes.push_back({"y", 0});
      bytes[bit / 8].number |= uint64_t{1} << bit % 8;
    }
  }
  return DBusValue::Array("y", std::move(bytes));
}

uint64_t OrInfinity(int64_t limit) { return limit < 0 ? kInfinity : static_cast<uint64_t>(limit); }

void AddMemory(const oci::MemoryResources& memory, Plan* plan) {
  const int version = VersionOf(*plan, "memory");
  const int64_t limit = memory.limit.value_or(0);
  if (limit != 0) AddNumber(plan, version == 1 ? "MemoryLimit" : "MemoryMax", OrInfinity(limit));
  if (version == 1) return;
  if (memory.reservation.value_or(0) != 0) AddNumber(plan, "MemoryLow", OrInfinity(*memory.reservation));
  const int64_t swap = memory.swap.value_or(0);
  if (swap < 0) AddNumber(plan, "MemorySwapMax", kInfinity);
  if (swap > 0 && limit > 0) AddNumber(plan, "MemorySwapMax", static_cast<uint64_t>(swap - limit));
}

void AddQuota(int64_t quota, uint64_t period, Plan* plan) {
  if (period != 0) AddNumber(plan, "CPUQuotaPeriodUSec", period, /*optional=*/true);
  uint64_t per_second = kInfinity;
  if (quota > 0) {
    const double share =
        static_cast<double>(quota) / static_cast<double>(period == 0 ? kDefaultPeriodUs : period);
    per_second = std::max<uint64_t>(1, static_cast<uint64_t>(share * static_cast<double>(kUsPerSecond)));
  }
  AddNumber(plan, "CPUQuotaPerSecUSec", per_second);
}

void AddCpu(const oci::CpuResources& cpu, Plan* plan) {
  const uint64_t shares = cpu.shares.value_or(0);
  if (VersionOf(*plan, "cpu") == 1) {
    if (shares != 0) AddNumber(plan, "CPUShares", shares);
  } else if (cpu.idle.value_or(0) == 1) {
    AddNumber(plan, "CPUWeight", 0, /*optional=*/true);  // "idle", since 252
  } else if (shares != 0) {
    AddNumber(plan, "CPUWeight", WeightFromShares(shares));
  }
  if (cpu.quota.value_or(0) != 0 || cpu.period.value_or(0) != 0) {
    AddQuota(cpu.quota.value_or(0), cpu.period.value_or(0), plan);
  }
  if (VersionOf(*plan, "cpuset") != 2) return;  // systemd leaves v1's alone
  if (!cpu.cpus.empty()) Add(plan, "AllowedCPUs", BitsOf(cpu.cpus), /*optional=*/true);
  if (!cpu.mems.empty()) Add(plan, "AllowedMemoryNodes", BitsOf(cpu.mems), /*optional=*/true);
}

void AddTasks(int64_t limit, bool start, Plan* plan) {
  uint64_t most = limit > 0 ? static_cast<uint64_t>(limit) : kInfinity;
  // The process that holds the scope open counts too.
  if (start && most == 1) most = 2;
  AddNumber(plan, "TasksMax", most);
}

// The files of linux.resources.unified that systemd has properties for. What else is there is written all the same.
void AddUnified(const std::map<std::string, std::string>& unified, bool start, Plan* plan) {
  constexpr std::pair<const char*, const char*> kNumbers[] = {{"memory.min", "MemoryMin"},
                                                              {"memory.low", "MemoryLow"},
                                                              {"memory.high", "MemoryHigh"},
                                                              {"memory.max", "MemoryMax"},
                                                              {"memory.swap.max", "MemorySwapMax"},
                                                              {"memory.zswap.max", "MemoryZSwapMax"},
                                                              {"pids.max", "TasksMax"},
                                                              {"cpu.weight", "CPUWeight"},
                                                              {"io.weight", "IOWeight"}};
  for (const auto& [file, text] : unified) {
    const absl::string_view value = absl::StripAsciiWhitespace(text);
    for (const auto& [name, property] : kNumbers) {
      uint64_t number = kInfinity;
      if (file != name || (value != "max" && !absl::SimpleAtoi(value, &number))) continue;
      if (file == "pids.max") number = std::max<uint64_t>(number, start ? 2 : 1);
      AddNumber(plan, property, number, file == "memory.zswap.max");
    }
    if (file == "cpuset.cpus") Add(plan, "AllowedCPUs", BitsOf(value), /*optional=*/true);
    if (file == "cpuset.mems") Add(plan, "AllowedMemoryNodes", BitsOf(value), /*optional=*/true);
    if (file == "cpu.max") {
      const std::pair<absl::string_view, absl::string_view> words =
          absl::StrSplit(value, absl::MaxSplits(' ', 1));
      int64_t quota = 0;
      uint64_t period = 0;
      if (!absl::SimpleAtoi(words.first, &quota)) quota = -1;
      if (!absl::SimpleAtoi(words.second, &period)) period = 0;
      AddQuota(quota, period, plan);
    }
    if (file == "memory.oom.group" && start) {
      Add(plan, "OOMPolicy", DBusValue::Text(value == "1" ? "kill" : "continue"), /*optional=*/true);
    }
  }
}

// TimeoutStopSec=5 of unit files is TimeoutStopUSec=5000000 on the bus.
absl::Status SecondsToMicroseconds(std::string* name, DBusValue* value) {
  if (!absl::EndsWith(*name, "Sec") || absl::EndsWith(*name, "USec")) return absl::OkStatus();
  const bool real = value->signature == "d";
  if (!real && (value->signature.size() != 1 || !absl::StrContains("ynqiuxt", value->signature[0]))) {
    return absl::InvalidArgumentError("must be a number of seconds");
  }
  const double seconds = real ? value->real : static_cast<double>(static_cast<int64_t>(value->number));
  constexpr double kMostSeconds = 1e12;
  if (seconds < 0 || seconds > kMostSeconds)
    return absl::InvalidArgumentError("is no sensible number of seconds");
  *name = absl::StrCat(absl::StripSuffix(*name, "Sec"), "USec");
  *value = DBusValue::Uint64(static_cast<uint64_t>(seconds * static_cast<double>(kUsPerSecond)));
  return absl::OkStatus();
}

absl::Status AddAnnotations(const std::map<std::string, std::string>& annotations, Plan* plan) {
  for (const auto& [key, text] : annotations) {
    absl::string_view suffix = key;
    if (!absl::ConsumePrefix(&suffix, kPropertyPrefix)) continue;
    const std::string setting = absl::StrCat("annotations[\"", key, "\"]");
    auto value = sys::ParseDBusText(text);
    if (!value.ok()) return sys::Annotate(value.status(), setting);
    std::string name(suffix);
    GANTRY_RETURN_IF_ERROR(sys::Annotate(SecondsToMicroseconds(&name, &*value), setting));
    if (std::find(std::begin(kAllowedProperties), std::end(kAllowedProperties), name) ==
        std::end(kAllowedProperties)) {
      return absl::InvalidArgumentError(absl::StrCat(
          setting,
          ": may not be set by an annotation; only properties that concern nothing but the scope may"));
    }
    Add(plan, name.c_str(), *std::move(value));
  }
  return absl::OkStatus();
}

absl::StatusOr<SystemdScope> NameScope(const Host& host, const Placement& placement) {
  std::vector<std::string> parts = {"", "gantry", placement.id};
  if (!placement.cgroups_path.empty()) {
    parts = absl::StrSplit(placement.cgroups_path, ':');
    if (parts.size() != 3) return BadPath(placement, "three parts are needed");
  }
  SystemdScope scope;
  scope.user = host.systemd->user;
  scope.slice = !parts[0].empty() ? parts[0] : scope.user ? "user.slice" : "system.slice";
  if (parts[2].empty()) return BadPath(placement, "the name must not be empty");
  scope.unit = absl::StrCat(parts[1], parts[1].empty() ? "" : "-", parts[2], ".scope");
  if (scope.unit.size() > kMaxUnitName ||
      !std::all_of(scope.unit.begin(), scope.unit.end(), IsUnitCharacter)) {
    return BadPath(placement, "prefix and name are at most 248 letters, digits and - _ . @ \\");
  }
  return scope;
}

}  // namespace

absl::Status PlanScope(const Host& host, const Placement& placement, Plan* plan) {
  if (!host.systemd.has_value()) {
    return absl::FailedPreconditionError(
        "the systemd cgroup driver needs a running systemd, which this host has not; use the cgroupfs "
        "driver");
  }
  GANTRY_ASSIGN_OR_RETURN(plan->scope, NameScope(host, placement));
  const std::optional<std::string> slice = ExpandSlice(plan->scope->slice);
  if (!slice.has_value()) {
    return BadPath(placement, "the slice is a name such as \"a-b.slice\", with no empty part");
  }
  const std::string path = absl::StrCat(host.systemd->root, *slice, "/", plan->scope->unit);
  for (Directory& directory : plan->directories) {
    directory.path = absl::StrCat(directory.mount_point, path);
    directory.unit = plan->scope->unit;
    directory.user_unit = plan->scope->user;
  }
  Add(plan, "Description", DBusValue::Text(absl::StrCat("container ", placement.id)));
  Add(plan, "Slice", DBusValue::Text(plan->scope->slice));
  Add(plan, "Delegate", DBusValue::Bool(true));
  Add(plan, "DefaultDependencies", DBusValue::Bool(false));
  Add(plan, "CollectMode", DBusValue::Text("inactive-or-failed"), /*optional=*/true);
  for (const char* name : {"CPUAccounting", "MemoryAccounting", "TasksAccounting"}) {
    Add(plan, name, DBusValue::Bool(true));
  }
  Add(plan, host.unified_only() ? "IOAccounting" : "BlockIOAccounting", DBusValue::Bool(true),
      /*optional=*/true);
  return placement.annotations == nullptr ? absl::OkStatus() : AddAnnotations(*placement.annotations, plan);
}

absl::Status AddResourceProperties(const oci::Resources& resources, bool start, Plan* plan) {
  if (resources.memory.has_value()) AddMemory(*resources.memory, plan);
  if (resources.cpu.has_value()) AddCpu(*resources.cpu, plan);
  if (resources.pids_limit.has_value()) AddTasks(*resources.pids_limit, start, plan);
  if (resources.block_io.has_value() && resources.block_io->weight.value_or(0) != 0) {
    const uint64_t weight = *resources.block_io->weight;
    if (VersionOf(*plan, "io") == 2) AddNumber(plan, "IOWeight", IoWeightFromBlkio(weight));
    if (VersionOf(*plan, "blkio") == 1) AddNumber(plan, "BlockIOWeight", weight);
  }
  AddUnified(resources.unified, start, plan);
  if (!start) return absl::OkStatus();
  const auto late = std::stable_partition(
      plan->writes.begin(), plan->writes.end(),
      [](const FileWrite& write) { return write.file != "pids.max" || write.value != "1"; });
  plan->late_writes.assign(late, plan->writes.end());
  plan->writes.erase(late, plan->writes.end());
  return absl::OkStatus();
}

// Rules that systemd cannot say are left to our own: it judges beside them, never instead.
void AddDeviceProperties(const DevicePolicy& policy, const std::map<std::string, std::string>& names,
                         Plan* plan) {
  Add(plan, "DevicePolicy", DBusValue::Text(policy.default_allow ? "auto" : "strict"));
  Add(plan, "DeviceAllow", DBusValue::Array("(ss)", {}));  // forgets what was there
  if (policy.default_allow) return;
  std::vector<DBusValue> rules;
  for (const DeviceRule& rule : policy.exceptions) {
    const char* const type = rule.type == 'b' ? "block" : "char";
    std::string node;
    if (rule.major < 0 && rule.minor < 0) {
      node = absl::StrCat(type, "-*");
    } else if (rule.major >= 0 && rule.minor >= 0) {
      node = absl::StrCat("/dev/", type, "/", rule.major, ":", rule.minor);
    } else {
      const auto name = names.find(absl::StrCat(std::string(1, rule.type), rule.major));
      if (name == names.end()) continue;
      node = absl::StrCat(type, "-", name->second);
    }
    rules.push_back(DBusValue::Struct({DBusValue::Text(node), DBusValue::Text(rule.access)}));
  }
  Add(plan, "DeviceAllow", DBusValue::Array("(ss)", std::move(rules)));
}

}  // namespace gantry::cgroup::internal
