#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/container/container.h"
#include "runtime/container/internal.h"
#include "runtime/linux/execute.h"
#include "runtime/linux/probe.h"
#include "runtime/plan/planner.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::container {
namespace {

struct NamespaceFile {
  const char* name;
  int flag;
};
constexpr NamespaceFile kNamespaceFiles[] = {
    {"mnt", CLONE_NEWNS},  {"pid", CLONE_NEWPID},   {"net", CLONE_NEWNET},       {"ipc", CLONE_NEWIPC},
    {"uts", CLONE_NEWUTS}, {"user", CLONE_NEWUSER}, {"cgroup", CLONE_NEWCGROUP}, {"time", CLONE_NEWTIME}};

// The namespaces in which init is not with us: setns(2) into one's own user namespace is an error.
absl::StatusOr<uint64_t> DifferentNamespaces(pid_t init) {
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd theirs,
                          sys::OpenAt(AT_FDCWD, absl::StrCat("/proc/", init, "/ns"), O_PATH | O_DIRECTORY));
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd ours, sys::OpenAt(AT_FDCWD, "/proc/self/ns", O_PATH | O_DIRECTORY));
  uint64_t flags = 0;
  for (const NamespaceFile& file : kNamespaceFiles) {
    struct stat their_stat, our_stat;
    if (fstatat(ours.get(), file.name, &our_stat, 0) != 0) continue;  // this kernel has no such namespace
    if (fstatat(theirs.get(), file.name, &their_stat, 0) != 0) {
      return sys::ErrnoStatus("stat", absl::StrCat("/proc/", init, "/ns/", file.name));
    }
    if (our_stat.st_ino != their_stat.st_ino) flags |= static_cast<uint64_t>(file.flag);
  }
  return flags;
}

// Where the container's root is not that of its mount namespace, because that is another's.
absl::StatusOr<sys::UniqueFd> InitRoot(const ExecOptions& options) {
  if (options.spec == nullptr || !options.spec->linux.has_value()) return sys::UniqueFd();
  const oci::Namespace* mounts = options.spec->linux->FindNamespace(oci::NamespaceType::kMount);
  if (mounts == nullptr || mounts->path.empty()) return sys::UniqueFd();
  GANTRY_ASSIGN_OR_RETURN(
      sys::UniqueFd root,
      sys::OpenAt(AT_FDCWD, absl::StrCat("/proc/", options.init_pid, "/root"), O_PATH | O_DIRECTORY));
  const sys::PidFd init(sys::UniqueFd(fcntl(options.init_pidfd, F_DUPFD_CLOEXEC, 0)));
  if (init.Exited()) return absl::FailedPreconditionError("the container is not running: its init has ended");
  return root;
}

// What a seccomp agent is told of the new process `pid` (config-linux.md, "The Container Process State").
std::string AgentMessage(const ExecOptions& options, pid_t pid) {
  oci::ContainerProcessState message;
  message.pid = pid;
  message.metadata = options.spec->linux->seccomp->listener_metadata;
  message.state.oci_version = options.spec->oci_version;
  message.state.id = options.id;
  message.state.bundle = options.bundle;
  message.state.status = oci::Status::kRunning;
  message.state.pid = options.init_pid;
  message.state.annotations = options.spec->annotations;
  return oci::ToJson(message);
}

}  // namespace

absl::StatusOr<ExecProcess> Exec(const ExecOptions& options) {
  GANTRY_RETURN_IF_ERROR(CheckPreservedFds(options.preserve_fds));
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd console,
                          ConnectConsole(options.process->terminal, options.console_socket,
                                         options.terminal_allowed_without_socket));
  GANTRY_ASSIGN_OR_RETURN(plan::HostFacts facts, linux::ProbeHost());
  plan::ExecRequest request;
  request.process = options.process;
  request.spec = options.spec;
  request.id = options.id;
  request.preserve_fds = options.preserve_fds;
  auto flags = DifferentNamespaces(options.init_pid);
  // Looked at after the pid was used: while the descriptor's process lives, the pid is its.
  const sys::PidFd init(sys::UniqueFd(fcntl(options.init_pidfd, F_DUPFD_CLOEXEC, 0)));
  if (!flags.ok() || init.Exited())
    return absl::FailedPreconditionError("the container is not running: its init has ended");
  auto freezer = options.cgroup.Freezer();
  if (freezer.ok() && *freezer != cgroup::FreezerState::kThawed) {
    return absl::FailedPreconditionError("the container is paused: resume it first");
  }
  request.join_flags = *flags;
  GANTRY_ASSIGN_OR_RETURN(plan::Plan plan, plan::PlanExec(request, facts));

  linux::ExecuteOptions execute;
  execute.plan = &plan;
  execute.stdio[0] = options.stdio.in;
  execute.stdio[1] = options.stdio.out;
  execute.stdio[2] = options.stdio.err;
  execute.clone_parent = options.clone_parent;
  execute.seccomp_cache = options.seccomp_cache;
  execute.init_pidfd = options.init_pidfd;
  const cgroup::Cgroup beside_init = options.cgroup.BesideInit(options.init_pid);
  execute.join_cgroup = &beside_init;
  GANTRY_ASSIGN_OR_RETURN(const sys::UniqueFd root, InitRoot(options));
  execute.init_root = root.get();
  execute.agent_message = [&options](pid_t pid) { return AgentMessage(options, pid); };
  GANTRY_ASSIGN_OR_RETURN(linux::Executed executed, linux::Execute(execute));
  if (console) {
    if (absl::Status status = SendTerminal(console.get(), executed); !status.ok()) {
      AbandonProcess(executed, options.clone_parent);
      return status;
    }
  }
  ExecProcess process;
  process.pid = executed.pid;
  process.pidfd = std::move(executed.pidfd);
  if (!console) process.pty_master = std::move(executed.terminal);
  process.warnings = std::move(plan.warnings);
  process.warnings.insert(process.warnings.end(), executed.warnings.begin(), executed.warnings.end());
  return process;
}

}  // namespace gantry::container
