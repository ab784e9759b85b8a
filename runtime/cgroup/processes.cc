// The processes of a cgroup: listing, killing, freezing.
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/cgroup/files.h"
#include "runtime/sys/status.h"

namespace gantry::cgroup {
namespace {

constexpr int kFreezeDeadlineMs = 2000;
constexpr int kKillRounds = 50;

// A directory that was removed meanwhile has nobody left to freeze or kill.
bool IsGone(const absl::Status& status) {
  const int error = sys::ErrnoOf(status);
  return error == ENOENT || error == ENODEV;
}

FreezerState ReadFreezer(const Directory& directory, absl::Status* status) {
  auto text =
      internal::ReadControl(directory.path + (directory.version == 1 ? "/freezer.state" : "/cgroup.freeze"));
  *status = text.ok() ? absl::OkStatus() : text.status();
  if (!text.ok()) return FreezerState::kThawed;
  if (directory.version == 1) {
    if (absl::StartsWith(*text, "FROZEN")) return FreezerState::kFrozen;
    return absl::StartsWith(*text, "FREEZING") ? FreezerState::kFreezing : FreezerState::kThawed;
  }
  if (!absl::StartsWith(*text, "1")) return FreezerState::kThawed;
  const std::string events = internal::ReadOrEmpty(directory.path + "/cgroup.events");
  return internal::KeyedNumber(events, "frozen") == 1 ? FreezerState::kFrozen : FreezerState::kFreezing;
}

absl::Status Order(const Directory& directory, bool freeze) {
  if (directory.version == 2)
    return internal::WriteControl(directory.path + "/cgroup.freeze", freeze ? "1" : "0");
  return internal::WriteControl(directory.path + "/freezer.state", freeze ? "FROZEN" : "THAWED");
}

}  // namespace

const Directory* Cgroup::Lister() const {
  // Any hierarchy lists them all; these are the ones that nothing else uses.
  for (const char* name : {"pids", "freezer", "memory", "name=systemd", ""}) {
    if (const Directory* directory = Find(name); directory != nullptr) return directory;
  }
  return directories_.empty() ? nullptr : &directories_[0];
}

absl::StatusOr<std::vector<pid_t>> Cgroup::Pids() const {
  std::vector<pid_t> pids;
  const Directory* directory = Lister();
  if (directory != nullptr) GANTRY_RETURN_IF_ERROR(internal::CollectPids(directory->path, &pids));
  return pids;
}

bool Cgroup::DeleteIfEmpty() const {
  for (const Directory* directory : {Lister(), Find("")}) {
    if (directory != nullptr && rmdir(directory->path.c_str()) != 0 && errno != ENOENT) return false;
  }
  return Delete(absl::ZeroDuration()).ok();
}

absl::Status Cgroup::KillAll(int signal) const {
  bool killed = false;
  if (signal == SIGKILL && Find("") != nullptr) {
    killed = internal::WriteControl(PathOf("") + "/cgroup.kill", "1").ok();
  }
  // On a hybrid host a process may sit in the v1 directories alone: they are looked at as well.
  const bool v1 = !directories_.empty() && directories_[0].version == 1;
  if (killed && !v1) return absl::OkStatus();
  if (signal != SIGKILL) {
    GANTRY_ASSIGN_OR_RETURN(const std::vector<pid_t> pids, Pids());
    for (const pid_t pid : pids) {
      if (kill(pid, signal) != 0 && errno != ESRCH) return sys::ErrnoStatus("kill", absl::StrCat(pid));
    }
    return absl::OkStatus();
  }
  const bool freezer = Find("freezer") != nullptr || (Find("") != nullptr && !v1);
  for (int round = 0; round < kKillRounds; ++round) {
    GANTRY_ASSIGN_OR_RETURN(std::vector<pid_t> pids, Pids());
    if (pids.empty()) break;
    // Frozen processes cannot fork: what is listed then is all there is. A freezer that does not get there (a
    // process in uninterruptible sleep) leaves us with repeating.
    const bool frozen = !killed && freezer && Freeze().ok();
    if (frozen) {
      GANTRY_ASSIGN_OR_RETURN(pids, Pids());
    }
    for (const pid_t pid : pids) {
      if (kill(pid, SIGKILL) != 0 && errno != ESRCH) return sys::ErrnoStatus("kill", absl::StrCat(pid));
    }
    if (frozen || killed) break;
    internal::Pause(1);
  }
  // SIGKILL does not reach a process in a frozen v1 cgroup until it is thawed.
  if (!freezer) return absl::OkStatus();
  const absl::Status thawed = Thaw();
  return IsGone(thawed) ? absl::OkStatus() : thawed;
}

absl::Status Cgroup::Freeze() const {
  const Directory* directory = Find("freezer");
  if (directory == nullptr) directory = Find("");
  if (directory == nullptr) {
    return absl::FailedPreconditionError(
        "this host has no \"freezer\" cgroup controller: nothing can be paused");
  }
  for (int waited_ms = 0; waited_ms < kFreezeDeadlineMs; ++waited_ms) {
    // v1 may get stuck half way when a process forks meanwhile; the order, repeated, moves it on.
    if (waited_ms % 10 == 0) GANTRY_RETURN_IF_ERROR(Order(*directory, true));
    absl::Status status;
    const FreezerState state = ReadFreezer(*directory, &status);
    if (!status.ok()) return status;
    if (state == FreezerState::kFrozen) return absl::OkStatus();
    internal::Pause(1);
  }
  GANTRY_RETURN_IF_ERROR(Order(*directory, false));
  return absl::DeadlineExceededError(absl::StrCat(directory->path, ": the processes did not freeze within ",
                                                  kFreezeDeadlineMs, " ms; they run on"));
}

absl::Status Cgroup::Thaw() const {
  const Directory* directory = Find("freezer");
  if (directory == nullptr) directory = Find("");
  if (directory == nullptr) {
    return absl::FailedPreconditionError("this host has no \"freezer\" cgroup controller");
  }
  return Order(*directory, false);
}

absl::StatusOr<FreezerState> Cgroup::Freezer() const {
  const Directory* directory = Find("freezer");
  if (directory == nullptr) directory = Find("");
  if (directory == nullptr) return FreezerState::kThawed;
  absl::Status status;
  const FreezerState state = ReadFreezer(*directory, &status);
  if (!status.ok() && !IsGone(status)) return status;
  return state;
}

}  // namespace gantry::cgroup
