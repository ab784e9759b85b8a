#include "shim/bootstrap/cleanup.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "api/proto/containerd/runtime/task/v3/shim.pb.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/cgroup/host.h"
#include "runtime/oci/spec.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/status.h"
#include "runtime/sys/unique_fd.h"
#include "shim/bootstrap/group.h"
#include "shim/bootstrap/socket.h"
#include "shim/builder/bundle_lock.h"
#include "shim/builder/program_engine.h"
#include "shim/builder/saved_state.h"
#include "shim/publish/task_events.h"
#include "shim/task/exit_record.h"

namespace gantry::shim {
namespace {

constexpr uint32_t kKilled = 128 + SIGKILL;
constexpr absl::Duration kPatience = absl::Seconds(5);
// The daemon waits five seconds for all of this.
constexpr absl::Duration kBuilderPatience = absl::Seconds(2);
// The init of a builder that was killed ends by itself.
constexpr absl::Duration kEmptyPatience = absl::Milliseconds(500);

// The directories that the specification asks for: a builder that was killed left no state behind. Who lives in
// them is not known to be ours.
absl::StatusOr<std::vector<cgroup::Directory>> DirectoriesOfSpec(const Options& options) {
  const std::string path = options.bundle + "/config.json";
  GANTRY_ASSIGN_OR_RETURN(const std::string text, sys::ReadFileAt(AT_FDCWD, path, oci::kMaxSpecBytes));
  GANTRY_ASSIGN_OR_RETURN(const oci::Spec spec, oci::ParseSpec(text, path));
  GANTRY_ASSIGN_OR_RETURN(const cgroup::Host host, cgroup::ProbeHost());
  cgroup::Placement placement;
  placement.id = options.id;
  if (spec.linux.has_value()) placement.cgroups_path = spec.linux->cgroups_path;
  GANTRY_ASSIGN_OR_RETURN(cgroup::Plan plan, cgroup::PlanCreate(host, placement, nullptr));
  return std::move(plan.directories);
}

// Kills by descriptor, and only the process that the state names.
absl::Status KillInit(const SavedState& state) {
  if (state.pid <= 0) return absl::OkStatus();
  const absl::StatusOr<sys::PidFd> pidfd = sys::PidFd::Open(state.pid);
  if (!pidfd.ok()) return absl::OkStatus();
  const absl::StatusOr<uint64_t> start_time = sys::ProcessStartTime(state.pid);
  if (!start_time.ok() || *start_time != state.start_time) return absl::OkStatus();
  const absl::Status killed = pidfd->Signal(SIGKILL);
  if (!killed.ok() && !absl::IsNotFound(killed)) return killed;
  pidfd->WaitExited(kPatience);
  return absl::OkStatus();
}

absl::Status KillContainer(const SavedState& state) {
  const cgroup::Cgroup cgroup(state.cgroup);
  // A frozen process cannot die.
  cgroup.Thaw().IgnoreError();
  GANTRY_RETURN_IF_ERROR(KillInit(state));
  GANTRY_RETURN_IF_ERROR(cgroup.KillAll(SIGKILL));
  return cgroup.Delete(kPatience);
}

// A daemon runs us in the bundle. If that has been removed meanwhile, by a later daemon that has cleaned up itself, what
// is at its path belongs to the next container of that name.
bool IsSuperseded(const std::string& bundle) {
  struct stat own, named;
  if (stat(".", &own) != 0 || stat(bundle.c_str(), &named) != 0) return false;
  if (own.st_dev == named.st_dev && own.st_ino == named.st_ino) return false;
  return own.st_nlink == 0 || access("config.json", F_OK) == 0;
}

void RemoveSocket(const Options& options) {
  const std::string group = GroupOfBundle(options.bundle);
  const absl::StatusOr<std::string> address = sys::ReadFileAt(AT_FDCWD, options.bundle + "/address", 4096);
  const std::string path = address.ok()
                               ? std::string(absl::StripPrefix(*address, "unix://"))
                               : SocketPath(kDefaultSocketDirectory, options.grpc_address,
                                            options.namespace_name, group.empty() ? options.id : group);
  // The others of the group may go on with it.
  if (group.empty() || !IsServed(path)) unlink(path.c_str());
}

}  // namespace

absl::StatusOr<std::string> CleanUp(const Options& options) {
  if (IsSuperseded(options.bundle)) {
    return absl::FailedPreconditionError(absl::StrCat(options.bundle, " is another one by now: left alone"));
  }
  const sys::UniqueFd held = HoldAfterOthers(options.bundle, kBuilderPatience);
  ExitRecord exit{0, kKilled, sys::WallNow()};
  if (const absl::StatusOr<EngineOptions> engine = ReadEngineRecord(options.bundle); engine.ok()) {
    GANTRY_RETURN_IF_ERROR(ForceDelete(*engine, options.id, options.bundle));
  }
  if (const absl::StatusOr<SavedState> state = ReadSavedState(options.bundle); state.ok()) {
    exit.pid = state->pid;
    GANTRY_RETURN_IF_ERROR(KillContainer(*state));
  } else if (auto directories = DirectoriesOfSpec(options); directories.ok()) {
    cgroup::Cgroup(*std::move(directories)).Delete(kEmptyPatience).IgnoreError();
  }
  if (const absl::StatusOr<ExitRecord> recorded = ReadExitRecord(options.bundle); recorded.ok()) {
    exit = *recorded;
  } else if (exit.pid != 0) {
    // Should it have to be done again, it is told as the same end.
    WriteExitRecord(options.bundle, exit).IgnoreError();
  }
  RemoveSocket(options);
  containerd::task::v3::DeleteResponse response;
  response.set_pid(static_cast<uint32_t>(exit.pid));
  response.set_exit_status(exit.status);
  SetTimestamp(exit.exited_at, response.mutable_exited_at());
  return response.SerializeAsString();
}

}  // namespace gantry::shim
