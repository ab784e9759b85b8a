#include "runtime/cgroup/cgroup.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/cgroup/device_program.h"
#include "runtime/cgroup/execute.h"
#include "runtime/cgroup/files.h"
#include "runtime/cgroup/systemd.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::cgroup {
namespace {

// rmdir of a cgroup and, if it has any, of those below it. EBUSY while a process is in it.
absl::Status RemoveTree(const std::string& path, int depth) {
  constexpr int kMaxDepth = 256;
  if (rmdir(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  if (errno != EBUSY && errno != ENOTEMPTY) return sys::ErrnoStatus("rmdir", path);
  const absl::Status busy = sys::ErrnoStatus("rmdir", path);
  const std::vector<std::string> children = internal::Children(path);
  if (children.empty() || depth == kMaxDepth) return busy;
  for (const std::string& child : children) {
    GANTRY_RETURN_IF_ERROR(RemoveTree(absl::StrCat(path, "/", child), depth + 1));
  }
  if (rmdir(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return sys::ErrnoStatus("rmdir", path);
}

// The policy that devices.list of v1 shows: "a *:* rwm", or lines "c 1:3 rwm".
DevicePolicy ParseDeviceList(absl::string_view text) {
  DevicePolicy policy;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, absl::ByAnyChar(" :"));
    if (fields.size() != 4) continue;
    if (fields[0] == "a") {
      policy.default_allow = true;
      continue;
    }
    DeviceRule rule;
    rule.type = fields[0][0];
    if (!absl::SimpleAtoi(fields[1], &rule.major)) rule.major = -1;
    if (!absl::SimpleAtoi(fields[2], &rule.minor)) rule.minor = -1;
    rule.access = std::string(fields[3]);
    policy.exceptions.push_back(std::move(rule));
  }
  return policy;
}

// From one list of allowed devices to another without a moment in which a device of both is denied.
std::vector<FileWrite> DeviceTransition(const DevicePolicy& from, const DevicePolicy& to, size_t index) {
  if (from.default_allow || to.default_allow) return DeviceWrites(to, index);
  std::vector<FileWrite> writes = DeviceWrites(to, index);
  writes.erase(writes.begin());  // the reset
  DevicePolicy gone;
  for (const DeviceRule& old : from.exceptions) {
    const auto same =
        std::find_if(to.exceptions.begin(), to.exceptions.end(), [&old](const DeviceRule& rule) {
          return rule.type == old.type && rule.major == old.major && rule.minor == old.minor;
        });
    DeviceRule lost = old;
    if (same != to.exceptions.end()) {
      lost.access.clear();
      for (const char c : old.access) {
        if (same->access.find(c) == std::string::npos) lost.access.push_back(c);
      }
    }
    if (!lost.access.empty()) gone.exceptions.push_back(lost);
  }
  gone.default_allow = true;  // so that the exceptions are written to devices.deny
  std::vector<FileWrite> denials = DeviceWrites(gone, index);
  writes.insert(writes.end(), denials.begin() + 1, denials.end());
  return writes;
}

}  // namespace

int JoinSelf(const int* tasks_fds, size_t count, size_t* failed) {
  for (size_t i = 0; i < count; ++i) {
    ssize_t n;
    do {
      n = write(tasks_fds[i], "0", 1);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
      *failed = i;
      return errno;
    }
  }
  return 0;
}

const Directory* Cgroup::Find(absl::string_view controller) const {
  for (const Directory& directory : directories_) {
    if (controller.empty() ? directory.version == 2 : directory.Has(controller)) return &directory;
  }
  return nullptr;
}

std::string Cgroup::PathOf(absl::string_view controller) const {
  const Directory* directory = Find(controller);
  return directory == nullptr ? "" : directory->path;
}

absl::StatusOr<JoinFds> Cgroup::OpenForJoin() const {
  JoinFds fds;
  for (const Directory& directory : directories_) {
    if (directory.version == 2) {
      GANTRY_ASSIGN_OR_RETURN(fds.unified, sys::OpenAt(AT_FDCWD, directory.path, O_RDONLY | O_DIRECTORY));
    } else {
      GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd tasks,
                              sys::OpenAt(AT_FDCWD, directory.path + "/tasks", O_WRONLY));
      fds.tasks.push_back(std::move(tasks));
    }
  }
  return fds;
}

Cgroup Cgroup::BesideInit(pid_t init) const {
  Cgroup beside = *this;
  if (beside.directories_.empty() || beside.directories_.back().version != 2) return beside;
  Directory& directory = beside.directories_.back();
  if (internal::ReadOrEmpty(directory.path + "/cgroup.subtree_control").size() <= 1) return beside;
  const std::string own = internal::ReadOrEmpty(absl::StrCat("/proc/", init, "/cgroup"));
  for (absl::string_view line : absl::StrSplit(own, '\n')) {
    if (!absl::ConsumePrefix(&line, "0::")) continue;
    // Only below: a path that leads elsewhere is none of the container's.
    const std::string path = absl::StrCat(directory.mount_point, line);
    if (absl::StartsWith(path, directory.path + "/")) directory.path = path;
  }
  return beside;
}

absl::Status Cgroup::Update(const oci::Resources& resources) const {
  const Directory* memory = Find("memory");
  if (memory != nullptr && memory->version == 2 && resources.memory.has_value() &&
      resources.memory->check_before_update.value_or(false) && resources.memory->limit.value_or(0) > 0) {
    const uint64_t usage = internal::ReadNumber(memory->path + "/memory.current");
    if (usage >= static_cast<uint64_t>(*resources.memory->limit)) {
      return absl::FailedPreconditionError(
          absl::StrCat("linux.resources.memory.limit: ", *resources.memory->limit,
                       " bytes are less than the ", usage, " bytes in use"));
    }
  }
  GANTRY_ASSIGN_OR_RETURN(Plan plan, PlanUpdate(directories_, resources));
  for (size_t i = 0; i < plan.directories.size(); ++i) {
    if (plan.directories[i].version == 2) GANTRY_RETURN_IF_ERROR(internal::EnableControllers(plan, i));
  }
  // Systemd first: it writes its own rounding of some values, ours are exact.
  if (plan.scope.has_value() && !plan.scope->properties.empty()) {
    GANTRY_ASSIGN_OR_RETURN(Systemd systemd, Systemd::Connect(plan.scope->user));
    GANTRY_RETURN_IF_ERROR(systemd.SetProperties(*plan.scope));
  }
  if (resources.devices.empty()) return internal::RunWrites(plan);
  GANTRY_ASSIGN_OR_RETURN(const DevicePolicy policy, PlanDevices(resources.devices));
  const Directory* devices = Find("devices");
  if (devices == nullptr) {
    GANTRY_RETURN_IF_ERROR(internal::RunWrites(plan));
    return Find("") == nullptr ? absl::OkStatus() : AttachDevicePolicy(PathOf(""), policy);
  }
  const size_t index = static_cast<size_t>(devices - directories_.data());
  const DevicePolicy now = ParseDeviceList(internal::ReadOrEmpty(devices->path + "/devices.list"));
  for (FileWrite& write : DeviceTransition(now, policy, index)) plan.writes.push_back(std::move(write));
  return internal::RunWrites(plan);
}

absl::Status Cgroup::StopUnit() const {
  for (const Directory& directory : directories_) {
    if (directory.unit.empty()) continue;
    GANTRY_ASSIGN_OR_RETURN(Systemd systemd, Systemd::Connect(directory.user_unit));
    return systemd.StopUnit(directory.unit);
  }
  return absl::OkStatus();
}

absl::Status Cgroup::Delete(absl::Duration patience) const {
  // Without a systemd that answers, the directories go all the same, and the unit with them.
  StopUnit().IgnoreError();
  constexpr int kLongestPauseMs = 20;
  int64_t left_ms = absl::ToInt64Milliseconds(patience);
  std::vector<const Directory*> left;
  for (const Directory& directory : directories_) left.push_back(&directory);
  for (int pause_ms = 1;; pause_ms = std::min(2 * pause_ms, kLongestPauseMs)) {
    std::vector<const Directory*> busy;
    absl::Status last;
    for (const Directory* directory : left) {
      const absl::Status status = RemoveTree(directory->path, 0);
      if (status.ok()) continue;
      if (sys::ErrnoOf(status) != EBUSY) return status;
      last = status;
      busy.push_back(directory);
    }
    if (busy.empty()) return absl::OkStatus();
    if (left_ms <= 0) return last;
    left = std::move(busy);
    internal::Pause(pause_ms);
    left_ms -= pause_ms;
  }
}

std::string FormatDirectories(const std::vector<Directory>& directories) {
  std::string text;
  for (const Directory& directory : directories) {
    absl::StrAppend(&text, directory.version, "\t", directory.controllers, "\t",
                    absl::CEscape(directory.mount_point), "\t", absl::CEscape(directory.path), "\t",
                    absl::StrJoin(directory.enable, ","));
    if (!directory.unit.empty()) {
      absl::StrAppend(&text, "\t", directory.user_unit ? "user " : "system ", absl::CEscape(directory.unit));
    }
    text += "\n";
  }
  return text;
}

absl::StatusOr<std::vector<Directory>> ParseDirectories(absl::string_view text) {
  std::vector<Directory> directories;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, '\t');
    Directory directory;
    if (fields.size() < 5 || fields.size() > 6 || !absl::SimpleAtoi(fields[0], &directory.version) ||
        !absl::CUnescape(fields[2], &directory.mount_point) || !absl::CUnescape(fields[3], &directory.path) ||
        directory.mount_point.empty() || directory.path.size() <= directory.mount_point.size()) {
      return absl::DataLossError(absl::StrCat("not a saved cgroup directory: \"", absl::CEscape(line), "\""));
    }
    directory.controllers = std::string(fields[1]);
    directory.enable = absl::StrSplit(fields[4], ',', absl::SkipEmpty());
    if (fields.size() == 6) {
      const std::pair<absl::string_view, absl::string_view> unit =
          absl::StrSplit(fields[5], absl::MaxSplits(' ', 1));
      directory.user_unit = unit.first == "user";
      directory.unit = std::string(unit.second);
    }
    directories.push_back(std::move(directory));
  }
  return directories;
}

}  // namespace gantry::cgroup
