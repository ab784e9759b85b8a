// kill, delete, pause and resume.
#include <csignal>

#include "absl/strings/str_cat.h"
#include "cmd/gantry-oci/context.h"
#include "runtime/cgroup/host.h"
#include "runtime/cgroup/systemd.h"
#include "runtime/sys/status.h"

namespace gantry::oci_cli {
namespace {

absl::Status WrongState(const Loaded& container, absl::string_view rule) {
  return absl::FailedPreconditionError(absl::StrCat("container \"", container.saved.id, "\" is ",
                                                    oci::StatusName(container.status), ": ", rule));
}

// Removes what a create that was killed left behind: there is no state yet, so the cgroup is found by the
// configuration, and its processes with it.
absl::Status RemoveHalfMade(const Context& context, const std::string& id) {
  auto dir = container::StateDir::Open(context.root, id);
  if (!dir.ok()) return absl::IsNotFound(dir.status()) ? absl::OkStatus() : dir.status();
  auto text = dir->LoadConfig();
  auto spec = text.ok() ? oci::ParseSpec(*text) : absl::StatusOr<oci::Spec>(text.status());
  if (spec.ok() && spec->linux.has_value()) {
    GANTRY_ASSIGN_OR_RETURN(cgroup::Host host, cgroup::ProbeHost());
    cgroup::Placement placement = {spec->linux->cgroups_path, id};
    placement.systemd = context.systemd_cgroup && cgroup::ProbeSystemd(&host).ok();
    auto plan = cgroup::PlanCreate(host, placement, nullptr);
    if (plan.ok()) {
      const cgroup::Cgroup group(plan->directories);
      GANTRY_RETURN_IF_ERROR(group.KillAll(SIGKILL));
      GANTRY_RETURN_IF_ERROR(group.Delete());
    }
  }
  return dir->Remove();
}

}  // namespace

Result Kill(const Context& context, const Arguments& arguments) {
  const std::vector<std::string>& positional = arguments.positional();
  GANTRY_ASSIGN_OR_RETURN(const int signal, ParseSignal(positional.size() > 1 ? positional[1] : "TERM"));
  GANTRY_ASSIGN_OR_RETURN(const Loaded container, Load(context, positional[0]));
  if (arguments.Has("all")) {
    const cgroup::Cgroup group = container.group();
    GANTRY_RETURN_IF_ERROR(group.KillAll(signal));
    // An ordinary user's container may have no cgroup: then init is all we know of, and the others end with it.
    if (!group.empty() || container.status == oci::Status::kStopped) return 0;
  }
  if (container.status == oci::Status::kStopped)
    return WrongState(container, "there is no process to signal");
  GANTRY_ASSIGN_OR_RETURN(const sys::PidFd init, sys::PidFd::Open(container.saved.pid));
  GANTRY_RETURN_IF_ERROR(init.Signal(signal));
  // On cgroup version 1 a frozen process does not even die before it is thawed.
  if (signal == SIGKILL && container.status == oci::Status::kPaused) {
    GANTRY_RETURN_IF_ERROR(container.group().Thaw());
  }
  return 0;
}

Result Delete(const Context& context, const Arguments& arguments) {
  const std::string& id = arguments.positional()[0];
  const bool force = arguments.Has("force");
  auto container = Load(context, id);
  if (!container.ok()) {
    if (!force || !absl::IsNotFound(container.status())) return container.status();
    GANTRY_RETURN_IF_ERROR(RemoveHalfMade(context, id));
    return 0;
  }
  // A created container has not run its program yet: like runc, it may go without force.
  const bool idle = container->status == oci::Status::kStopped || container->status == oci::Status::kCreated;
  if (!idle && !force) {
    return WrongState(*container, "it must be stopped to be deleted, or use --force");
  }
  GANTRY_RETURN_IF_ERROR(Remove(context, *container, true));
  return 0;
}

Result Pause(const Context& context, const Arguments& arguments) {
  GANTRY_ASSIGN_OR_RETURN(const Loaded container, Load(context, arguments.positional()[0]));
  if (container.status != oci::Status::kRunning && container.status != oci::Status::kCreated) {
    return WrongState(container, "only a running or created container can be paused");
  }
  GANTRY_RETURN_IF_ERROR(container.group().Freeze());
  return 0;
}

Result Resume(const Context& context, const Arguments& arguments) {
  GANTRY_ASSIGN_OR_RETURN(const Loaded container, Load(context, arguments.positional()[0]));
  if (container.status != oci::Status::kPaused)
    return WrongState(container, "only a paused container can be resumed");
  GANTRY_RETURN_IF_ERROR(container.group().Thaw());
  return 0;
}

}  // namespace gantry::oci_cli
