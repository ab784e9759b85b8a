// exec.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cmd/gantry-oci/context.h"
#include "cmd/gantry-oci/foreground.h"
#include "runtime/sys/file.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/status.h"

namespace gantry::oci_cli {
namespace {

void AddCapability(const std::string& name, oci::Capabilities* capabilities) {
  for (auto* set : {&capabilities->bounding, &capabilities->effective, &capabilities->permitted}) {
    if (std::find(set->begin(), set->end(), name) == set->end()) set->push_back(name);
  }
}

absl::Status ApplyIdentity(const Arguments& arguments, oci::Process* process) {
  if (arguments.Has("user")) {
    GANTRY_ASSIGN_OR_RETURN(const auto user, ParseUser(arguments.Get("user")));
    process->user.uid = user.first;
    if (user.second.has_value()) process->user.gid = *user.second;
  }
  for (const std::string& value : arguments.All("additional-gids")) {
    for (absl::string_view text : absl::StrSplit(value, ',', absl::SkipEmpty())) {
      uint32_t gid = 0;
      if (!std::all_of(text.begin(), text.end(), absl::ascii_isdigit) || !absl::SimpleAtoi(text, &gid)) {
        return absl::InvalidArgumentError(
            absl::StrCat("--additional-gids \"", text, "\": must be numbers of groups"));
      }
      process->user.additional_gids.push_back(gid);
    }
  }
  for (std::string name : arguments.All("cap")) {
    name = absl::AsciiStrToUpper(name);
    if (!absl::StartsWith(name, "CAP_")) name = "CAP_" + name;
    if (!process->capabilities.has_value()) process->capabilities.emplace();
    AddCapability(name, &*process->capabilities);
  }
  return absl::OkStatus();
}

// The container's process, changed by the command line.
absl::StatusOr<oci::Process> FromCommandLine(const Arguments& arguments, const oci::Spec& spec) {
  oci::Process process = *spec.process;
  process.terminal = arguments.Has("tty");
  process.args.assign(arguments.positional().begin() + 1, arguments.positional().end());
  if (process.args.empty()) {
    return absl::InvalidArgumentError(
        "exec: no program given: gantry-oci exec [options] ID PROGRAM [ARGUMENT...]");
  }
  if (arguments.Has("cwd")) process.cwd = arguments.Get("cwd");
  for (const std::string& variable : arguments.All("env")) {
    if (!absl::StrContains(variable, "=")) {
      return absl::InvalidArgumentError(absl::StrCat("--env \"", variable, "\": must be NAME=VALUE"));
    }
    process.env.push_back(variable);
  }
  if (arguments.Has("process-label")) process.selinux_label = arguments.Get("process-label");
  if (arguments.Has("apparmor")) process.apparmor_profile = arguments.Get("apparmor");
  if (arguments.Has("no-new-privs")) process.no_new_privileges = true;
  GANTRY_RETURN_IF_ERROR(ApplyIdentity(arguments, &process));
  return process;
}

absl::StatusOr<oci::Process> ReadProcess(const Arguments& arguments, const oci::Spec& spec) {
  if (!arguments.Has("process")) {
    GANTRY_ASSIGN_OR_RETURN(oci::Process process, FromCommandLine(arguments, spec));
    GANTRY_RETURN_IF_ERROR(oci::ValidateProcess(process));
    return process;
  }
  const std::string path = arguments.Get("process");
  if (arguments.positional().size() > 1) {
    return absl::InvalidArgumentError(
        "--process: the document names the program; it must not be given twice");
  }
  GANTRY_ASSIGN_OR_RETURN(const std::string text, sys::ReadFileAt(AT_FDCWD, path, oci::kMaxSpecBytes));
  GANTRY_ASSIGN_OR_RETURN(oci::Process process, oci::ParseProcess(text, path));
  if (arguments.Has("tty")) process.terminal = true;
  GANTRY_RETURN_IF_ERROR(sys::Annotate(oci::ValidateProcess(process), path));
  return process;
}

absl::Status CheckRunning(const Loaded& container, const Arguments& arguments) {
  if (container.status == oci::Status::kRunning || container.status == oci::Status::kCreated)
    return absl::OkStatus();
  if (container.status == oci::Status::kPaused && arguments.Has("ignore-paused")) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("container \"", container.saved.id, "\" is ",
                                                    oci::StatusName(container.status),
                                                    ": nothing can be run in it"));
}

// runc's rule: "PATH" is below the container's cgroup in every hierarchy, "cpu,memory:PATH" in those alone. It must
// be there.
absl::StatusOr<cgroup::Cgroup> SubCgroup(const Loaded& container, const Arguments& arguments) {
  std::vector<cgroup::Directory> directories = container.saved.cgroup;
  for (const std::string& value : arguments.All("cgroup")) {
    const size_t colon = value.find(':');
    const std::string path = colon == std::string::npos ? value : value.substr(colon + 1);
    for (absl::string_view part : absl::StrSplit(path, '/')) {
      if (part == "..")
        return absl::InvalidArgumentError(absl::StrCat("--cgroup \"", value, "\": .. leads out of it"));
    }
    std::vector<std::string> controllers;
    if (colon != std::string::npos) controllers = absl::StrSplit(value.substr(0, colon), ',');
    bool found = false;
    for (cgroup::Directory& directory : directories) {
      const auto serves = [&directory](const std::string& name) { return directory.Has(name); };
      if (!controllers.empty() && std::none_of(controllers.begin(), controllers.end(), serves)) continue;
      found = true;
      absl::StrAppend(&directory.path, path.empty() || path[0] == '/' ? "" : "/", path);
      if (access(directory.path.c_str(), F_OK) != 0) {
        return absl::NotFoundError(absl::StrCat("--cgroup \"", value, "\": there is no ", directory.path));
      }
    }
    if (!found)
      return absl::InvalidArgumentError(absl::StrCat("--cgroup \"", value, "\": no such controller"));
  }
  return cgroup::Cgroup(std::move(directories));
}

absl::Status CheckTerminal(const Arguments& arguments, const oci::Process& process) {
  const bool socket = !arguments.Get("console-socket").empty();
  if (process.terminal && arguments.Has("detach") && !socket) {
    return absl::InvalidArgumentError("a detached process with a terminal needs --console-socket");
  }
  if (socket && !process.terminal) {
    return absl::InvalidArgumentError("--console-socket: the process asks for no terminal");
  }
  return absl::OkStatus();
}

Result Execute(const Context& context, const Arguments& arguments) {
  GANTRY_ASSIGN_OR_RETURN(const Loaded container, Load(context, arguments.positional()[0]));
  GANTRY_RETURN_IF_ERROR(CheckRunning(container, arguments));
  GANTRY_ASSIGN_OR_RETURN(const oci::Spec spec, LoadSpec(container));
  GANTRY_ASSIGN_OR_RETURN(const oci::Process process, ReadProcess(arguments, spec));
  GANTRY_RETURN_IF_ERROR(CheckTerminal(arguments, process));
  GANTRY_ASSIGN_OR_RETURN(const sys::PidFd init, sys::PidFd::Open(container.saved.pid));
  container::ExecOptions options;
  options.process = &process;
  options.spec = &spec;
  options.init_pidfd = init.fd();
  options.init_pid = container.saved.pid;
  options.id = container.saved.id;
  options.bundle = container.saved.bundle;
  options.seccomp_cache = context.seccomp_cache();
  GANTRY_ASSIGN_OR_RETURN(options.cgroup, SubCgroup(container, arguments));
  options.console_socket = arguments.Get("console-socket");
  GANTRY_ASSIGN_OR_RETURN(const std::optional<int64_t> preserve, arguments.Number("preserve-fds"));
  options.preserve_fds = static_cast<int>(std::clamp<int64_t>(preserve.value_or(0), 0, 1024));

  std::optional<Foreground> foreground;
  if (!arguments.Has("detach")) foreground.emplace(false);
  GANTRY_ASSIGN_OR_RETURN(container::ExecProcess running, container::Exec(options));
  context.own_file.reset();
  for (const std::string& warning : running.warnings) context.Warn(warning);
  if (arguments.Has("pid-file")) GANTRY_RETURN_IF_ERROR(WritePidFile(arguments.Get("pid-file"), running.pid));
  if (arguments.Has("pidfd-socket")) {
    GANTRY_ASSIGN_OR_RETURN(const sys::UniqueFd socket,
                            sys::ConnectUnix(arguments.Get("pidfd-socket"), SOCK_STREAM));
    GANTRY_RETURN_IF_ERROR(sys::SendWithFds(socket.get(), "pidfd", {running.pidfd.fd()}));
  }
  if (!foreground.has_value()) return 0;
  if (running.pty_master.valid())
    foreground->ConnectTerminal(std::move(running.pty_master), process.console_size);
  return foreground->Wait(running.pid, running.pidfd);
}

}  // namespace

Result Exec(const Context& context, const Arguments& arguments) {
  // 255, as runc has it: a program's own exit status of 1 stays distinguishable.
  constexpr int kNotRun = 255;
  Result result = Execute(context, arguments);
  if (result.ok()) return result;
  context.Error(absl::StrCat("exec: ", result.status().message()));
  return kNotRun;
}

}  // namespace gantry::oci_cli
