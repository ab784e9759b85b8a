// create, start and run.
#include <fcntl.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "cmd/gantry-oci/context.h"
#include "cmd/gantry-oci/creation.h"
#include "cmd/gantry-oci/foreground.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/file.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/status.h"

namespace gantry::oci_cli {
absl::StatusOr<Creation> ReadBundle(const Arguments& arguments) {
  Creation creation;
  creation.id = arguments.positional()[0];
  GANTRY_RETURN_IF_ERROR(container::CheckId(creation.id));
  const std::optional<std::string> bundle = arguments.Find("bundle");
  if (bundle.has_value() && bundle->empty())
    return absl::InvalidArgumentError("--bundle: must name a directory");
  GANTRY_ASSIGN_OR_RETURN(creation.bundle, Absolute(bundle.value_or(".")));
  while (creation.bundle.size() > 1 && creation.bundle.back() == '/') creation.bundle.pop_back();
  const std::string path = arguments.Find("config").value_or(creation.bundle + "/config.json");
  // A FIFO of that name is not waited for.
  GANTRY_ASSIGN_OR_RETURN(creation.config, sys::ReadFileAt(AT_FDCWD, path, oci::kMaxSpecBytes, O_NONBLOCK));
  GANTRY_ASSIGN_OR_RETURN(creation.spec, oci::ParseSpec(creation.config, path));
  GANTRY_RETURN_IF_ERROR(sys::Annotate(oci::Validate(creation.spec), path));
  return creation;
}

container::SavedState StateOf(const Creation& creation, const container::Container& container) {
  container::SavedState state;
  state.oci_version = creation.spec.oci_version;
  state.id = creation.id;
  state.pid = container.pid;
  state.start_time = container.start_time;
  state.bundle = creation.bundle;
  const std::string& root = creation.spec.root->path;
  state.rootfs = root[0] == '/' ? root : absl::StrCat(creation.bundle, "/", root);
  state.created = sys::FormatUtc(sys::WallNow());
  state.cgroup = container.cgroup.directories();
  state.root_mount = container.joined_root;
  state.annotations = creation.spec.annotations;
  return state;
}

absl::Status CheckTerminal(const Creation& creation, const Arguments& arguments, bool foreground) {
  const bool socket = !arguments.Get("console-socket").empty();
  if (creation.spec.process->terminal && !socket && !foreground) {
    return absl::InvalidArgumentError("process.terminal needs --console-socket, or run in the foreground");
  }
  if (socket && !creation.spec.process->terminal) {
    return absl::InvalidArgumentError(
        "--console-socket: process.terminal is not set, so there is no terminal to send");
  }
  return absl::OkStatus();
}

namespace {

absl::Status FillOptions(const Context& context, const Arguments& arguments, const Creation& creation,
                         container::CreateOptions* options) {
  options->id = creation.id;
  options->bundle = creation.bundle;
  options->spec = &creation.spec;
  options->console_socket = arguments.Get("console-socket");
  options->terminal_allowed_without_socket = true;  // CheckTerminal has judged
  options->systemd_cgroup = context.systemd_cgroup;
  options->seccomp_cache = context.seccomp_cache();
  options->rootless = context.rootless;
  options->no_pivot = arguments.Has("no-pivot");
  options->no_new_keyring = arguments.Has("no-new-keyring");
  GANTRY_ASSIGN_OR_RETURN(const std::optional<int64_t> preserve, arguments.Number("preserve-fds"));
  constexpr int64_t kMaxPreserved = 1024;
  if (preserve.value_or(0) < 0 || preserve.value_or(0) > kMaxPreserved) {
    return absl::InvalidArgumentError(absl::StrCat("--preserve-fds: must be from 0 to ", kMaxPreserved));
  }
  options->preserve_fds = static_cast<int>(preserve.value_or(0));
  return absl::OkStatus();
}

absl::Status SendPidFd(const std::string& socket_path, const sys::PidFd& pidfd) {
  GANTRY_ASSIGN_OR_RETURN(const sys::UniqueFd socket, sys::ConnectUnix(socket_path, SOCK_STREAM));
  return sys::SendWithFds(socket.get(), "pidfd", {pidfd.fd()});
}

// Everything up to the waiting container: state saved, pid file written. After an error nothing is left.
absl::StatusOr<container::Container> Build(const Context& context, const Arguments& arguments,
                                           const Creation& creation, const container::StateDir& dir,
                                           bool start_by_socket) {
  container::CreateOptions options;
  GANTRY_RETURN_IF_ERROR(FillOptions(context, arguments, creation, &options));
  if (start_by_socket) options.state_dir = dir.path();
  // First of all: what a killed runtime leaves is found by it.
  GANTRY_RETURN_IF_ERROR(dir.SaveConfig(creation.config));
  options.start_at_once = !start_by_socket;
  options.not_for_init = context.own_file.get();
  options.exists = [&](const container::Container& container) -> absl::Status {
    absl::Status status = dir.Save(StateOf(creation, container));
    context.own_file.reset();
    return status;
  };
  GANTRY_ASSIGN_OR_RETURN(container::Container created, container::Create(options));
  for (const std::string& warning : created.warnings) context.Warn(warning);
  const auto finish = [&]() -> absl::Status {
    if (arguments.Has("pid-file"))
      GANTRY_RETURN_IF_ERROR(WritePidFile(arguments.Get("pid-file"), created.pid));
    if (!arguments.Has("pidfd-socket")) return absl::OkStatus();
    return SendPidFd(arguments.Get("pidfd-socket"), created.pidfd);
  };
  if (absl::Status status = finish(); !status.ok()) {
    Remove(context, Loaded{dir, StateOf(creation, created), oci::Status::kCreated}, true, &creation.spec)
        .IgnoreError();
    return status;
  }
  return created;
}

absl::StatusOr<container::Container> MakeAndBuild(const Context& context, const Arguments& arguments,
                                                  const Creation& creation, bool start_by_socket,
                                                  std::optional<container::StateDir>* dir) {
  auto made = container::StateDir::Make(context.root, creation.id);
  if (!made.ok()) return made.status();
  *dir = *std::move(made);
  auto created = Build(context, arguments, creation, **dir, start_by_socket);
  if (!created.ok()) (*dir)->Remove().IgnoreError();
  return created;
}

void RunPoststart(const Context& context, const oci::Spec& spec, oci::State state) {
  if (spec.hooks.poststart.empty()) return;
  state.status = oci::Status::kRunning;
  // The program runs already: runtime.md, Lifecycle 9, asks for a warning.
  const absl::Status status = container::RunHooks(spec.hooks.poststart, "poststart", state);
  if (!status.ok()) context.Warn(status.message());
}

}  // namespace

Result Create(const Context& context, const Arguments& arguments) {
  GANTRY_ASSIGN_OR_RETURN(const Creation creation, ReadBundle(arguments));
  GANTRY_RETURN_IF_ERROR(CheckTerminal(creation, arguments, false));
  std::optional<container::StateDir> dir;
  GANTRY_RETURN_IF_ERROR(MakeAndBuild(context, arguments, creation, true, &dir).status());
  return 0;
}

Result Start(const Context& context, const Arguments& arguments) {
  GANTRY_ASSIGN_OR_RETURN(const Loaded container, Load(context, arguments.positional()[0]));
  if (container.status != oci::Status::kCreated) {
    return absl::FailedPreconditionError(absl::StrCat("container \"", container.saved.id, "\" is ",
                                                      oci::StatusName(container.status),
                                                      ": only a created container can be started"));
  }
  GANTRY_ASSIGN_OR_RETURN(const oci::Spec spec, LoadSpec(container));
  GANTRY_ASSIGN_OR_RETURN(container::StartControl control,
                          container::StartControl::Connect(container.dir.path()));
  GANTRY_RETURN_IF_ERROR(control.Start());
  RunPoststart(context, spec, container.state());
  return 0;
}

Result Run(const Context& context, const Arguments& arguments) {
  const bool detach = arguments.Has("detach");
  GANTRY_ASSIGN_OR_RETURN(const Creation creation, ReadBundle(arguments));
  GANTRY_RETURN_IF_ERROR(CheckTerminal(creation, arguments, !detach));
  std::optional<Foreground> foreground;
  if (!detach) foreground.emplace(!arguments.Has("no-subreaper"));
  std::optional<container::StateDir> dir;
  GANTRY_ASSIGN_OR_RETURN(container::Container created,
                          MakeAndBuild(context, arguments, creation, false, &dir));
  if (foreground.has_value() && created.pty_master.valid()) {
    foreground->ConnectTerminal(std::move(created.pty_master), creation.spec.process->console_size);
  }
  Loaded container{*dir, StateOf(creation, created), oci::Status::kCreated};
  container::StartControl control(std::move(created.control), created.ordered);
  const auto start = [&]() -> absl::Status {
    absl::Status status = control.Start();
    for (const std::string& warning : control.TakeWarnings()) context.Warn(warning);
    if (!status.ok()) Remove(context, container, true, &creation.spec).IgnoreError();
    return status;
  };
  // Nobody needs to know when the program began: then we sleep until it has ended, and ask how it went.
  const bool ask_later = created.ordered && foreground.has_value() && creation.spec.hooks.poststart.empty();
  if (!ask_later) GANTRY_RETURN_IF_ERROR(start());
  container.status = oci::Status::kRunning;
  RunPoststart(context, creation.spec, container.state());
  if (!foreground.has_value()) return 0;
  auto exit_status = foreground->Wait(created.pid, created.pidfd);
  foreground.reset();
  created.root_mount.reset();
  container.status = oci::Status::kStopped;
  if (ask_later) GANTRY_RETURN_IF_ERROR(start());
  if (exit_status.ok() && arguments.Has("keep")) return exit_status;
  const absl::Status removed = Remove(context, container, true, &creation.spec);
  if (!removed.ok()) context.Warn(absl::StrCat("what is left of the container stays: ", removed.message()));
  return exit_status;
}

}  // namespace gantry::oci_cli
