#include "runtime/cgroup/plan.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "runtime/cgroup/plan_internal.h"
#include "runtime/sys/status.h"

namespace gantry::cgroup {

bool Directory::Has(absl::string_view controller) const {
  for (absl::string_view name : absl::StrSplit(controllers, ',')) {
    if (name == controller) return true;
  }
  return false;
}

namespace internal {

const Directory* Planner::Find(absl::string_view controller) const {
  for (const Directory& directory : plan_.directories) {
    if (directory.Has(controller)) return &directory;
  }
  return nullptr;
}

const Directory* Planner::Need(absl::string_view controller, absl::string_view setting) {
  const Directory* directory = Find(controller);
  if (directory == nullptr) {
    Fail(absl::FailedPreconditionError(
        absl::StrCat("linux.resources.", setting, ": this host has no \"", controller,
                     "\" cgroup controller, or none for this user; leave the limit out, or enable it")));
    return nullptr;
  }
  if (directory->version == 2) {
    std::vector<std::string>& enable = plan_.directories[directory - plan_.directories.data()].enable;
    if (std::find(enable.begin(), enable.end(), controller) == enable.end()) enable.emplace_back(controller);
  }
  return directory;
}

void Planner::Add(const Directory* directory, absl::string_view file, std::string value,
                  absl::string_view setting) {
  AddOr(directory, file, std::move(value), "", "", setting);
}

void Planner::AddOr(const Directory* directory, absl::string_view file, std::string value,
                    absl::string_view other_file, std::string other_value, absl::string_view setting) {
  if (directory == nullptr) return;
  FileWrite write;
  write.directory = static_cast<size_t>(directory - plan_.directories.data());
  write.file = std::string(file);
  write.value = std::move(value);
  write.setting = absl::StrCat("linux.resources.", setting);
  write.other_file = std::string(other_file);
  write.other_value = std::move(other_value);
  plan_.writes.push_back(std::move(write));
}

}  // namespace internal

namespace {

using internal::Planner;

// "/a/../b//c" is "/b/c"; ".." stops at the root. Empty for the root itself.
std::string Clean(absl::string_view path) {
  std::vector<absl::string_view> parts;
  for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (part == ".") continue;
    if (part == "..") {
      if (!parts.empty()) parts.pop_back();
    } else {
      parts.push_back(part);
    }
  }
  std::string clean;
  for (absl::string_view part : parts) absl::StrAppend(&clean, "/", part);
  return clean;
}

absl::StatusOr<std::vector<Directory>> PlanDirectories(const Host& host, const Placement& placement) {
  const absl::string_view wanted =
      placement.cgroups_path.empty() || placement.systemd ? placement.id : placement.cgroups_path;
  const std::string clean = Clean(wanted);
  if (clean.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "linux.cgroupsPath: must name a cgroup below the root, found \"", placement.cgroups_path, "\""));
  }
  std::vector<Directory> directories;
  for (const Hierarchy& hierarchy : host.hierarchies) {
    // An ordinary user who asked for no place gets none where there is none to have.
    if (placement.cgroups_path.empty() && !placement.systemd && !hierarchy.writable) continue;
    Directory directory;
    directory.version = hierarchy.version;
    directory.controllers = absl::StrJoin(hierarchy.controllers, ",");
    directory.mount_point = hierarchy.mount_point;
    const std::string base = wanted[0] == '/' ? "" : Clean(host.Base(hierarchy));
    directory.path = absl::StrCat(hierarchy.mount_point, base, clean);
    if (host.unified_only()) {
      for (const char* name : {"cpu", "cpuset", "hugetlb", "io", "memory", "pids", "rdma", "misc"}) {
        if (hierarchy.Has(name)) directory.enable.emplace_back(name);
      }
    }
    directories.push_back(std::move(directory));
  }
  return directories;
}

void PlanHugepages(Planner* planner, const std::vector<oci::HugepageLimit>& limits) {
  if (limits.empty()) return;
  const Directory* directory = planner->Need("hugetlb", "hugepageLimits");
  if (directory == nullptr) return;
  for (const oci::HugepageLimit& limit : limits) {
    const char* const file = directory->version == 1 ? "limit_in_bytes" : "max";
    const std::string setting = absl::StrCat("hugepageLimits (", limit.page_size, ")");
    planner->Add(directory, absl::StrCat("hugetlb.", limit.page_size, ".", file), absl::StrCat(limit.limit),
                 setting);
    // Without this one a process that reserves more than it may use gets SIGBUS, not an error (since Linux 5.7).
    planner->Add(directory, absl::StrCat("hugetlb.", limit.page_size, ".rsvd.", file),
                 absl::StrCat(limit.limit), setting);
    planner->MayBeMissing();
  }
}

void PlanNetwork(Planner* planner, const oci::NetworkResources& network) {
  if (network.class_id.value_or(0) != 0) {
    planner->Add(planner->Need("net_cls", "network.classID"), "net_cls.classid",
                 absl::StrCat(*network.class_id), "network.classID");
  }
  for (const oci::InterfacePriority& priority : network.priorities) {
    planner->Add(planner->Need("net_prio", "network.priorities"), "net_prio.ifpriomap",
                 absl::StrCat(priority.name, " ", priority.priority), "network.priorities");
  }
}

void PlanRdma(Planner* planner, const std::map<std::string, oci::RdmaLimit>& rdma) {
  for (const auto& [device, limit] : rdma) {
    std::string line = device;
    if (limit.hca_handles.has_value()) absl::StrAppend(&line, " hca_handle=", *limit.hca_handles);
    if (limit.hca_objects.has_value()) absl::StrAppend(&line, " hca_object=", *limit.hca_objects);
    planner->Add(planner->Need("rdma", "rdma"), "rdma.max", line, absl::StrCat("rdma.", device));
  }
}

void PlanUnified(Planner* planner, const Plan& plan, const std::map<std::string, std::string>& unified) {
  for (const auto& [file, value] : unified) {
    const std::string setting = absl::StrCat("unified.", file);
    const std::string controller = file.substr(0, file.find('.'));
    if (plan.directories.empty() || plan.directories.back().version != 2 ||
        !plan.directories.back().Has(controller)) {
      planner->Fail(absl::FailedPreconditionError(
          absl::StrCat("linux.resources.", setting, ": needs the version 2 cgroup controller \"", controller,
                       "\", which this host does not have")));
      return;
    }
    planner->Need(controller, setting);
    // Files that take one line per device take several lines, each in a write of its own.
    for (absl::string_view line : absl::StrSplit(value, '\n', absl::SkipEmpty())) {
      planner->Add(&plan.directories.back(), file, std::string(line), setting);
    }
  }
}

// Everything but devices.
absl::Status PlanLimits(Plan* plan, const oci::Resources& resources) {
  Planner planner(plan);
  if (resources.memory.has_value()) internal::PlanMemory(&planner, *resources.memory);
  if (resources.cpu.has_value()) internal::PlanCpu(&planner, *resources.cpu);
  if (resources.pids_limit.has_value()) {
    const int64_t limit = *resources.pids_limit;
    planner.Add(planner.Need("pids", "pids.limit"), "pids.max", limit > 0 ? absl::StrCat(limit) : "max",
                "pids.limit");
  }
  if (resources.block_io.has_value()) internal::PlanBlockIo(&planner, *resources.block_io);
  PlanHugepages(&planner, resources.hugepage_limits);
  if (resources.network.has_value()) PlanNetwork(&planner, *resources.network);
  PlanRdma(&planner, resources.rdma);
  PlanUnified(&planner, *plan, resources.unified);
  return planner.status();
}

}  // namespace

absl::StatusOr<Plan> PlanCreate(const Host& host, const Placement& placement,
                                const oci::Resources* resources) {
  Plan plan;
  GANTRY_ASSIGN_OR_RETURN(plan.directories, PlanDirectories(host, placement));
  if (placement.systemd) GANTRY_RETURN_IF_ERROR(internal::PlanScope(host, placement, &plan));
  if (resources != nullptr) {
    GANTRY_RETURN_IF_ERROR(PlanLimits(&plan, *resources));
    if (placement.systemd) GANTRY_RETURN_IF_ERROR(internal::AddResourceProperties(*resources, true, &plan));
  }
  if (!host.privileged) return plan;
  GANTRY_ASSIGN_OR_RETURN(
      DevicePolicy devices,
      PlanDevices(resources == nullptr ? std::vector<oci::DeviceRule>() : resources->devices));
  if (placement.systemd) internal::AddDeviceProperties(devices, host.systemd->device_names, &plan);
  for (size_t i = 0; i < plan.directories.size(); ++i) {
    if (plan.directories[i].version != 1 || !plan.directories[i].Has("devices")) continue;
    for (FileWrite& write : DeviceWrites(devices, i)) plan.writes.push_back(std::move(write));
    return plan;
  }
  if (host.Unified() != nullptr) plan.device_program = std::move(devices);
  return plan;
}

absl::StatusOr<Plan> PlanUpdate(const std::vector<Directory>& directories, const oci::Resources& resources) {
  Plan plan;
  plan.directories = directories;
  GANTRY_RETURN_IF_ERROR(PlanLimits(&plan, resources));
  for (const Directory& directory : directories) {
    if (directory.unit.empty()) continue;
    plan.scope.emplace();
    plan.scope->unit = directory.unit;
    plan.scope->user = directory.user_unit;
    GANTRY_RETURN_IF_ERROR(internal::AddResourceProperties(resources, false, &plan));
    break;
  }
  return plan;
}

uint64_t WeightFromShares(uint64_t shares) {
  if (shares <= 2) return 1;
  if (shares >= 262144) return 10000;
  // The parabola in log space through (2, 1), (1024, 100) and (262144, 10000).
  const double l = std::log2(static_cast<double>(shares));
  const double exponent = (l * l + 125 * l) / 612.0 - 7.0 / 34.0;
  return static_cast<uint64_t>(std::ceil(std::pow(10, exponent)));
}

uint64_t IoWeightFromBlkio(uint64_t weight) { return weight <= 10 ? 1 : 1 + (weight - 10) * 9999 / 990; }

}  // namespace gantry::cgroup
