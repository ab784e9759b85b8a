#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/cgroup/systemd.h"
#include "runtime/container/container.h"
#include "runtime/container/internal.h"
#include "runtime/linux/execute.h"
#include "runtime/linux/probe.h"
#include "runtime/plan/planner.h"
#include "runtime/sys/file.h"
#include "runtime/sys/log.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/status.h"

namespace gantry::container {
namespace {

oci::State StateOf(const CreateOptions& options, oci::Status status, pid_t pid) {
  oci::State state;
  state.oci_version = options.spec->oci_version;
  state.id = options.id;
  state.status = status;
  state.pid = pid;
  state.bundle = options.bundle;
  state.annotations = options.spec->annotations;
  return state;
}

std::string AgentMessage(const CreateOptions& options, pid_t pid) {
  oci::ContainerProcessState message;
  message.pid = pid;
  message.metadata = options.spec->linux->seccomp->listener_metadata;
  message.state = StateOf(options, oci::Status::kCreated, pid);
  return oci::ToJson(message);
}

linux::ExecuteOptions MakeExecuteOptions(const CreateOptions& options, const plan::Plan& plan, bool* cloned) {
  linux::ExecuteOptions execute;
  execute.plan = &plan;
  execute.stdio[0] = options.stdio.in;
  execute.stdio[1] = options.stdio.out;
  execute.stdio[2] = options.stdio.err;
  execute.clone_parent = options.clone_parent;
  execute.seccomp_cache = options.seccomp_cache;
  execute.cloned = cloned;
  execute.state = [&options](oci::Status status, pid_t pid) {
    return oci::ToJson(StateOf(options, status, pid));
  };
  execute.agent_message = [&options](pid_t pid) { return AgentMessage(options, pid); };
  execute.host_hooks = [&options](const plan::HostHooks& hooks, pid_t pid) {
    const oci::State state = StateOf(options, oci::Status::kCreating, pid);
    GANTRY_RETURN_IF_ERROR(RunHooks(hooks.prestart, "prestart", state));
    return RunHooks(hooks.create_runtime, "createRuntime", state);
  };
  return execute;
}

absl::Status CheckOptions(const CreateOptions& options) {
  if (options.spec == nullptr || options.bundle.empty() || options.bundle[0] != '/') {
    return absl::InvalidArgumentError(
        "a container needs a specification and the absolute path of its bundle");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<plan::Plan> PlanOf(const CreateOptions& options, const plan::HostFacts& facts) {
  GANTRY_RETURN_IF_ERROR(CheckOptions(options));
  plan::CreateRequest request;
  request.spec = options.spec;
  request.id = options.id;
  request.bundle = options.bundle;
  request.rootfs_mounts = options.rootfs_mounts;
  request.systemd_cgroup = options.systemd_cgroup;
  request.no_pivot = options.no_pivot;
  request.no_new_keyring = options.no_new_keyring;
  request.preserve_fds = options.preserve_fds;
  request.rootless = options.rootless;
  return plan::PlanCreate(request, facts);
}

absl::StatusOr<Container> Create(const CreateOptions& options) {
  GANTRY_RETURN_IF_ERROR(CheckOptions(options));
  GANTRY_RETURN_IF_ERROR(CheckPreservedFds(options.preserve_fds));
  const bool terminal = options.spec->process.has_value() && options.spec->process->terminal;
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd console, ConnectConsole(terminal, options.console_socket,
                                                                options.terminal_allowed_without_socket));
  GANTRY_ASSIGN_OR_RETURN(plan::HostFacts facts, linux::ProbeHost());
  if (options.systemd_cgroup) GANTRY_RETURN_IF_ERROR(cgroup::ProbeSystemd(&facts.cgroup));
  GANTRY_ASSIGN_OR_RETURN(plan::Plan plan, PlanOf(options, facts));
  bool cloned = false;
  linux::ExecuteOptions execute = MakeExecuteOptions(options, plan, &cloned);
  const std::string start = options.state_dir.empty() ? "" : StartSocketPath(options.state_dir);
  sys::UniqueFd listen;
  if (!start.empty()) {
    GANTRY_ASSIGN_OR_RETURN(listen, sys::ListenUnix(start, SOCK_SEQPACKET, 0600));
    execute.listen_fd = listen.get();
  }
  execute.not_for_child = options.not_for_init;
  execute.start_at_once = options.start_at_once;
  Container container;
  execute.exists = [&options, &container](linux::Executed& executed) -> absl::Status {
    container.pid = executed.pid;
    auto start_time = sys::ProcessStartTime(executed.pid);
    if (start_time.ok()) container.start_time = *start_time;
    container.cgroup = executed.cgroup;
    container.joined_root = executed.joined_root;
    if (!options.exists) return absl::OkStatus();
    container.pidfd = std::move(executed.pidfd);
    absl::Status status = options.exists(container);
    executed.pidfd = std::move(container.pidfd);
    return status;
  };
  auto executed = linux::Execute(execute);
  absl::Status status = executed.status();
  if (status.ok() && console) status = SendTerminal(console.get(), *executed);
  if (!status.ok()) {
    if (executed.ok()) {
      AbandonProcess(*executed, options.clone_parent);
      ReleaseResctrl(*options.spec, options.id).IgnoreError();
    }
    if (!start.empty()) unlink(start.c_str());
    if (cloned) {
      // runtime.md, Lifecycle 12: it had come to exist, so its end is told.
      RunHooks(options.spec->hooks.poststop, "poststop", StateOf(options, oci::Status::kStopped, 0))
          .IgnoreError();
    }
    return status;
  }
  container.ordered = executed->ordered;
  container.pidfd = std::move(executed->pidfd);
  container.control = std::move(executed->control);
  if (!console) container.pty_master = std::move(executed->terminal);
  container.root_mount = std::move(executed->root_mount);
  container.cgroup = std::move(executed->cgroup);
  container.warnings = std::move(plan.warnings);
  container.warnings.insert(container.warnings.end(), executed->warnings.begin(), executed->warnings.end());
  return container;
}

}  // namespace gantry::container
