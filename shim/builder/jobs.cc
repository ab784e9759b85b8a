#include "shim/builder/jobs.h"

#include <fcntl.h>
#include <rapidjson/document.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/oci/spec.h"
#include "runtime/oci/state.h"
#include "runtime/sys/file.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/status.h"
#include "shim/builder/bundle_lock.h"
#include "shim/builder/checkpoint.h"
#include "shim/builder/fork.h"
#include "shim/builder/saved_state.h"

namespace gantry::shim {
namespace {

constexpr size_t kMaxMessageBytes = 64 << 10;

bool HasPrivatePidNamespace(const oci::Spec& spec) {
  if (!spec.linux.has_value()) return false;
  for (const oci::Namespace& ns : spec.linux->namespaces) {
    if (ns.type == oci::NamespaceType::kPid) return ns.path.empty();
  }
  return false;
}

// Filters are shared by all containers of a daemon: <state>/seccomp, where the bundle is
// <state>/io.containerd.runtime.v2.task/<namespace>/<id>.
std::string SeccompCacheOf(const std::string& bundle) {
  const size_t end = bundle.rfind("/io.containerd.runtime.v2.task/");
  return end == std::string::npos ? "" : bundle.substr(0, end) + "/seccomp";
}

void JoinNetwork(const std::string& path, oci::Spec* spec) {
  if (path.empty() || !spec->linux.has_value()) return;
  for (oci::Namespace& ns : spec->linux->namespaces) {
    if (ns.type == oci::NamespaceType::kNetwork && ns.path.empty()) ns.path = path;
  }
}

// A sandbox's configuration is kin to a specification, no more: only the process is looked at.
absl::Status FindProcessHere(const std::string& bundle) {
  const std::string path = bundle + "/config.json";
  GANTRY_ASSIGN_OR_RETURN(const std::string text,
                          sys::ReadFileAt(AT_FDCWD, path, oci::kMaxSpecBytes, O_NONBLOCK));
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag>(text.data(), text.size());
  if (document.HasParseError() || !document.IsObject()) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is no JSON object"));
  }
  const auto process = document.FindMember("process");
  if (process != document.MemberEnd() && process->value.IsObject()) {
    const auto args = process->value.FindMember("args");
    if (args != process->value.MemberEnd() && args->value.IsArray() && !args->value.Empty()) {
      return absl::OkStatus();
    }
  }
  return absl::NotFoundError(absl::StrCat(path, " has no process"));
}

void Undo(const container::Container& container, const std::string& bundle) {
  container::DeleteOptions options;
  options.pid = container.pid;
  options.pidfd = container.pidfd.fd();
  options.kill = true;
  options.cgroup = container.cgroup;
  container::Delete(options).IgnoreError();
  RemoveSavedState(bundle);
}

// Runs in the builder. `created` gets everything but the container, which stays with the caller for sending.
absl::StatusOr<container::Container> CreateHere(const CreateJob& job, Created* created) {
  GANTRY_ASSIGN_OR_RETURN(oci::Spec spec, ReadSpec(job.bundle));
  if (!spec.process.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat(job.bundle, "/config.json: process is missing"));
  }
  spec.process->terminal = job.terminal;
  JoinNetwork(job.network_namespace, &spec);
  GANTRY_RETURN_IF_ERROR(oci::Validate(spec));
  if (!job.rootfs.empty()) {
    const std::string root = job.bundle + "/rootfs";
    if (mkdir(root.c_str(), 0711) != 0 && errno != EEXIST) return sys::ErrnoStatus("mkdir", root);
  }
  created->private_pid_namespace = HasPrivatePidNamespace(spec);
  created->has_poststart = !spec.hooks.poststart.empty();
  // What else is to be done when it has gone is done along with them.
  created->has_poststop = !spec.hooks.poststop.empty() || spec.linux->intel_rdt.has_value();
  container::CreateOptions options;
  options.id = job.id;
  options.bundle = job.bundle;
  options.spec = &spec;
  options.rootfs_mounts = job.rootfs;
  options.stdio = job.stdio;
  options.clone_parent = true;
  options.systemd_cgroup = job.systemd_cgroup;
  options.no_pivot = job.no_pivot;
  options.no_new_keyring = job.no_new_keyring;
  options.seccomp_cache = SeccompCacheOf(job.bundle);
  GANTRY_ASSIGN_OR_RETURN(container::Container container,
                          job.checkpoint.empty() ? container::Create(options) : RestoreHere(job, options));
  // Without it nobody could clean up after a shim that is killed; and without its bundle nobody wants it any more.
  if (absl::Status saved = SaveCreated(job, *created, container); !saved.ok()) {
    Undo(container, job.bundle);
    return saved;
  }
  return container;
}

std::string FormatFacts(const Created& created) {
  return absl::StrCat(created.private_pid_namespace ? "1" : "0", created.has_poststart ? "1" : "0",
                      created.has_poststop ? "1" : "0");
}

absl::Status ParseFacts(absl::string_view text, Created* created) {
  if (text.size() != 3) return absl::InternalError("the builder ended before it had a result");
  created->private_pid_namespace = text[0] == '1';
  created->has_poststart = text[1] == '1';
  created->has_poststop = text[2] == '1';
  return absl::OkStatus();
}

absl::Status RunHooksHere(const HooksJob& job) {
  GANTRY_ASSIGN_OR_RETURN(const oci::Spec spec, ReadSpec(job.bundle));
  const bool started = job.kind == HookKind::kPoststart;
  if (!started) GANTRY_RETURN_IF_ERROR(container::ReleaseResctrl(spec, job.id));
  oci::State state;
  state.id = job.id;
  state.bundle = job.bundle;
  state.pid = started ? job.pid : 0;
  state.status = started ? oci::Status::kRunning : oci::Status::kStopped;
  state.annotations = spec.annotations;
  return container::RunHooks(started ? spec.hooks.poststart : spec.hooks.poststop,
                             started ? "poststart" : "poststop", state);
}

}  // namespace

absl::StatusOr<oci::Spec> ReadSpec(const std::string& bundle) {
  const std::string path = bundle + "/config.json";
  // A FIFO of that name is not waited for.
  GANTRY_ASSIGN_OR_RETURN(const std::string text,
                          sys::ReadFileAt(AT_FDCWD, path, oci::kMaxSpecBytes, O_NONBLOCK));
  GANTRY_ASSIGN_OR_RETURN(oci::Spec spec, oci::ParseSpec(text, path));
  return spec;
}

void SendStatus(int socket, const absl::Status& status) {
  sys::SendWithFds(socket, absl::StrCat(static_cast<int>(status.code()), " ", status.message()), {})
      .IgnoreError();
}

std::vector<int> FdsOf(const container::Stdio& stdio) {
  std::vector<int> fds;
  for (int fd : {stdio.in, stdio.out, stdio.err}) {
    if (fd >= 0) fds.push_back(fd);
  }
  return fds;
}

absl::Status SaveCreated(const CreateJob& job, const Created& created,
                         const container::Container& container) {
  SavedState state{container.pid, container.start_time, container.cgroup.directories(), job.adopt};
  if (state.adopt) {
    state.adopt->private_pid_namespace = created.private_pid_namespace;
    state.adopt->has_poststop = created.has_poststop;
  }
  return WriteSavedState(job.bundle, state);
}

absl::Status SendCreated(int socket, Created& created, const absl::Status& status) {
  GANTRY_RETURN_IF_ERROR(sys::SendWithFds(socket, FormatFacts(created), {}));
  if (!status.ok()) return container::SendContainer(socket, status);
  absl::StatusOr<container::Container> container = std::move(created.container);
  const absl::Status sent = container::SendContainer(socket, container);
  created.container = *std::move(container);
  return sent;
}

absl::StatusOr<sys::UniqueFd> StartCreate(const CreateJob& job) {
  return RunForked(FdsOf(job.stdio), [&job, shim = getpid()](int socket) {
    Created created;
    const absl::StatusOr<sys::UniqueFd> held = HoldBundle(job.bundle, shim);
    absl::StatusOr<container::Container> container =
        held.ok() ? CreateHere(job, &created) : absl::StatusOr<container::Container>(held.status());
    if (container.ok()) created.container = *std::move(container);
    // Nobody will ever own it: the shim is gone.
    if (!SendCreated(socket, created, container.status()).ok() && container.ok())
      Undo(created.container, job.bundle);
  });
}

absl::StatusOr<Created> FinishCreate(int socket) {
  Created created;
  GANTRY_ASSIGN_OR_RETURN(const sys::ReceivedMessage facts, sys::ReceiveWithFds(socket, kMaxMessageBytes));
  GANTRY_RETURN_IF_ERROR(ParseFacts(facts.data, &created));
  GANTRY_ASSIGN_OR_RETURN(created.container, container::ReceiveContainer(socket));
  return created;
}

absl::StatusOr<sys::UniqueFd> StartExec(const ExecJob& job) {
  std::vector<int> keep = FdsOf(job.stdio);
  keep.push_back(job.init_pidfd);
  return RunForked(keep, [&job](int socket) {
    const absl::StatusOr<container::ExecProcess> process =
        [&job]() -> absl::StatusOr<container::ExecProcess> {
      GANTRY_ASSIGN_OR_RETURN(oci::Process process, oci::ParseProcess(job.process_json));
      process.terminal = job.terminal;
      GANTRY_RETURN_IF_ERROR(oci::ValidateProcess(process));
      GANTRY_ASSIGN_OR_RETURN(const oci::Spec spec, ReadSpec(job.bundle));
      container::ExecOptions options;
      options.id = job.id;
      options.process = &process;
      options.spec = &spec;
      options.init_pidfd = job.init_pidfd;
      options.init_pid = job.init_pid;
      options.bundle = job.bundle;
      options.seccomp_cache = SeccompCacheOf(job.bundle);
      options.cgroup = job.cgroup;
      options.stdio = job.stdio;
      options.clone_parent = true;
      return container::Exec(options);
    }();
    const absl::Status sent = container::SendExecProcess(socket, process);
    if (!sent.ok() && process.ok()) process->pidfd.Signal(SIGKILL).IgnoreError();
  });
}

absl::StatusOr<container::ExecProcess> FinishExec(int socket) {
  return container::ReceiveExecProcess(socket);
}

absl::StatusOr<sys::UniqueFd> StartHooks(const HooksJob& job) {
  return RunForked({}, [&job](int socket) { SendStatus(socket, RunHooksHere(job)); });
}

absl::StatusOr<sys::UniqueFd> StartUpdate(const std::string& resources_json, const cgroup::Cgroup& cgroup) {
  return RunForked({}, [&](int socket) {
    const absl::StatusOr<oci::Resources> resources = oci::ParseResources(resources_json);
    if (!resources.ok()) return SendStatus(socket, resources.status());
    if (absl::Status valid = oci::ValidateResources(*resources); !valid.ok())
      return SendStatus(socket, valid);
    SendStatus(socket, cgroup.Update(*resources));
  });
}

absl::StatusOr<sys::UniqueFd> StartFindProcess(const std::string& bundle) {
  return RunForked({}, [&](int socket) { SendStatus(socket, FindProcessHere(bundle)); });
}

absl::Status CloseElsewhere(sys::UniqueFd fd) {
  const int number = fd.get();
  absl::StatusOr<sys::UniqueFd> socket = RunForked({number}, [](int parent) {
    // Until the parent's end goes, at its return: then the child has the last reference, and ends with it.
    sys::ReceiveWithFds(parent, 1).IgnoreError();
  });
  fd.reset();
  return socket.status();
}

absl::Status FinishJob(int socket) {
  GANTRY_ASSIGN_OR_RETURN(const sys::ReceivedMessage message, sys::ReceiveWithFds(socket, kMaxMessageBytes));
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(message.data, absl::MaxSplits(' ', 1));
  int code = 0;
  if (!absl::SimpleAtoi(parts.first, &code)) {
    return absl::InternalError("the helper ended before it had a result");
  }
  return absl::Status(static_cast<absl::StatusCode>(code), parts.second);
}

}  // namespace gantry::shim
