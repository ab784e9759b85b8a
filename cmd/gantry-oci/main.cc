// gantry-oci: an OCI runtime on the command line, a drop-in for runc and crun below containerd, podman and
// dockerd.
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cmd/gantry-oci/context.h"
#include "runtime/sys/early_mount.h"
#include "runtime/sys/privilege.h"
#include "runtime/sys/sanitizer.h"
#include "runtime/sys/self_exe.h"

namespace gantry::oci_cli {
namespace {

constexpr Option kEnd = {nullptr, 0, nullptr, nullptr};

constexpr Option kGlobalOptions[] = {
    {"root", 0, "DIR",
     "where the containers' state is kept (default /run/gantry-oci; for an ordinary user "
     "$XDG_RUNTIME_DIR/gantry-oci)"},
    {"log", 0, "FILE", "write errors and warnings to this file too"},
    {"log-format", 0, "FORMAT", "text (default) or json"},
    {"log-level", 0, "LEVEL", "debug, or anything else (default: warning)"},
    {"debug", 0, nullptr, "log more"},
    {"cgroup-manager", 0, "NAME", "cgroupfs (default) or systemd"},
    {"systemd-cgroup", 0, nullptr, "cgroupsPath has the form slice:prefix:name"},
    {"rootless", 0, "MODE", "go on without a cgroup that may not be made: true, false or auto (default)"},
    {"criu", 0, "PATH", "the criu program for checkpoint and restore (default: criu in PATH)"},
    {"help", 'h', nullptr, "this text"},
    {"version", 'v', nullptr, "print the version"},
    kEnd};

constexpr Option kBundle = {"bundle", 'b', "DIR", "the bundle's directory (default: the current one)"};
constexpr Option kConsoleSocket = {"console-socket", 0, "PATH", "send the terminal to this unix socket"};
constexpr Option kPidfdSocket = {"pidfd-socket", 0, "PATH",
                                 "send a pidfd of the process to this unix socket"};
constexpr Option kPidFile = {"pid-file", 0, "FILE", "write the process's pid to this file"};
constexpr Option kNoPivot = {"no-pivot", 0, nullptr,
                             "do not use pivot_root: for root file systems on a ramdisk"};
constexpr Option kNoNewKeyring = {"no-new-keyring", 0, nullptr, "keep the caller's session keyring"};
constexpr Option kPreserveFds = {"preserve-fds", 0, "N", "pass N descriptors on, from 3"};
constexpr Option kDetach = {"detach", 'd', nullptr, "return as soon as the program runs"};
constexpr Option kNoSubreaper = {"no-subreaper", 0, nullptr,
                                 "do not become the parent of orphaned processes"};
constexpr Option kFormat = {"format", 'f', "FORMAT", "table (default) or json"};
constexpr Option kHelp = {"help", 'h', nullptr, "this text"};

constexpr Option kConfig = {"config", 'f', "FILE", "the configuration (default: config.json of the bundle)"};

constexpr Option kCreateOptions[] = {kBundle,  kConfig,       kConsoleSocket, kPidfdSocket, kPidFile,
                                     kNoPivot, kNoNewKeyring, kPreserveFds,   kNoSubreaper, kHelp,
                                     kEnd};
constexpr Option kRunOptions[] = {kBundle,
                                  kConfig,
                                  kConsoleSocket,
                                  kPidfdSocket,
                                  kPidFile,
                                  kNoPivot,
                                  kNoNewKeyring,
                                  kPreserveFds,
                                  kDetach,
                                  kNoSubreaper,
                                  {"keep", 0, nullptr, "keep the container when its program has ended"},
                                  kHelp,
                                  kEnd};
constexpr Option kExecOptions[] = {
    kConsoleSocket,
    kPidfdSocket,
    kPidFile,
    kPreserveFds,
    kDetach,
    kNoSubreaper,
    {"process", 'p', "FILE", "the process as a JSON document"},
    {"tty", 't', nullptr, "give it a terminal"},
    {"cwd", 0, "DIR", "its working directory"},
    {"env", 'e', "NAME=VALUE", "a further environment variable (may be repeated)"},
    {"user", 'u', "UID[:GID]", "its user"},
    {"additional-gids", 'g', "GID", "a supplementary group (may be repeated)"},
    {"cap", 'c', "CAP", "a further capability (may be repeated)"},
    {"no-new-privs", 0, nullptr, "set no_new_privs"},
    {"process-label", 0, "LABEL", "its SELinux label"},
    {"apparmor", 0, "PROFILE", "its AppArmor profile"},
    {"cgroup", 0, "[CONTROLLERS:]PATH", "run it in a cgroup below the container's (may be repeated)"},
    {"ignore-paused", 0, nullptr, "also in a paused container"},
    kHelp,
    kEnd};
constexpr Option kKillOptions[] = {
    {"all", 'a', nullptr, "signal all processes of the container"}, kHelp, kEnd};
constexpr Option kDeleteOptions[] = {
    {"force", 'f', nullptr, "kill it first if it runs; succeed if it is not there"}, kHelp, kEnd};
constexpr Option kListOptions[] = {kFormat, {"quiet", 'q', nullptr, "print the ids only"}, kHelp, kEnd};
constexpr Option kPsOptions[] = {kFormat, kHelp, kEnd};
constexpr Option kUpdateOptions[] = {
    {"resources", 'r', "FILE", "the limits as a JSON document; - is stdin"},
    {"memory", 0, "BYTES", "memory limit; -1: none"},
    {"memory-swap", 0, "BYTES", "limit of memory and swap together; -1: none"},
    {"memory-reservation", 0, "BYTES", "soft memory limit"},
    {"cpu-share", 0, "N", "CPU shares"},
    {"cpu-quota", 0, "US", "CPU time in each period"},
    {"cpu-period", 0, "US", "length of a period"},
    {"cpu-burst", 0, "US", "unused CPU time that may be saved up"},
    {"cpu-rt-runtime", 0, "US", "CPU time of real-time processes in each period"},
    {"cpu-rt-period", 0, "US", "length of a real-time period"},
    {"cpu-idle", 0, "0|1", "run only when nothing else wants to"},
    {"cpuset-cpus", 0, "LIST", "CPUs, such as 0-3,7"},
    {"cpuset-mems", 0, "LIST", "memory nodes"},
    {"pids-limit", 0, "N", "number of processes; -1: no limit"},
    {"blkio-weight", 0, "N", "share of block I/O, 10 to 1000"},
    {"l3-cache-schema", 0, "SCHEMA", "cache ways, such as L3:0=ff (with linux.intelRdt)"},
    {"mem-bw-schema", 0, "SCHEMA", "memory bandwidth, such as MB:0=20 (with linux.intelRdt)"},
    {"kernel-memory", 0, "BYTES", "without effect: kernels know it no more"},
    {"kernel-memory-tcp", 0, "BYTES", "without effect: kernels know it no more"},
    kHelp,
    kEnd};
constexpr Option kEventsOptions[] = {{"stats", 0, nullptr, "print the statistics once"},
                                     {"interval", 0, "DURATION", "time between two statistics (default 5s)"},
                                     kHelp,
                                     kEnd};
constexpr Option kExplainOptions[] = {kBundle,
                                      {"format", 'f', "FORMAT", "text (default) or json"},
                                      {"steps", 's', nullptr, "also all operations one after the other"},
                                      kNoPivot,
                                      kNoNewKeyring,
                                      kHelp,
                                      kEnd};
constexpr Option kSpecOptions[] = {kBundle, {"rootless", 0, nullptr, "for an ordinary user"}, kHelp, kEnd};
constexpr Option kNoOptions[] = {kHelp, kEnd};

constexpr Option kImagePath = {"image-path", 0, "DIR", "criu's files (default: checkpoint)"};
constexpr Option kWorkPath = {"work-path", 0, "DIR", "criu's log (default: where its files are)"};
constexpr Option kTcpEstablished = {"tcp-established", 0, nullptr, "with open TCP connections"};
constexpr Option kExtUnixSk = {"ext-unix-sk", 0, nullptr, "with unix sockets whose peer is outside"};
constexpr Option kShellJob = {"shell-job", 0, nullptr, "with a terminal of outside"};
constexpr Option kFileLocks = {"file-locks", 0, nullptr, "with file locks"};
constexpr Option kCgroupsMode = {"manage-cgroups-mode", 0, "MODE", "soft (default), full, strict or ignore"};
constexpr Option kEmptyNs = {"empty-ns", 0, "TYPE",
                             "network: comes back without its devices (always the case)"};
constexpr Option kAutoDedup = {"auto-dedup", 0, nullptr, "drop memory from earlier files once it is newer"};
constexpr Option kLazyPages = {"lazy-pages", 0, nullptr, "is not supported"};
constexpr Option kCheckpointOptions[] = {
    kImagePath,
    kWorkPath,
    {"parent-path", 0, "DIR", "the pre-dump before this one, relative to --image-path"},
    {"leave-running", 0, nullptr, "the container runs on"},
    {"pre-dump", 0, nullptr, "write the memory only; the container runs on"},
    kTcpEstablished,
    {"tcp-skip-in-flight", 0, nullptr, "leave out TCP connections that are being made"},
    {"link-remap", 0, nullptr, "link unlinked files back"},
    kExtUnixSk,
    kShellJob,
    kFileLocks,
    kCgroupsMode,
    {"page-server", 0, "ADDRESS:PORT", "send the memory there"},
    kEmptyNs,
    kAutoDedup,
    kLazyPages,
    {"status-fd", 0, "FD", "belongs to --lazy-pages"},
    kHelp,
    kEnd};
constexpr Option kRestoreOptions[] = {
    kBundle,
    kConsoleSocket,
    kImagePath,
    kWorkPath,
    kTcpEstablished,
    kExtUnixSk,
    kShellJob,
    kFileLocks,
    kCgroupsMode,
    kDetach,
    kPidFile,
    kNoSubreaper,
    kNoPivot,
    kEmptyNs,
    kAutoDedup,
    kLazyPages,
    {"lsm-profile", 0, "TYPE:NAME", "another AppArmor or SELinux profile"},
    {"lsm-mount-context", 0, "CONTEXT", "another SELinux context of mounts"},
    kHelp,
    kEnd};

struct Command {
  const char* name;
  const char* usage;
  const char* help;
  Options options;
  Order order;
  size_t min_arguments;
  size_t max_arguments;
  CommandFunction function;
};

constexpr size_t kAnyNumber = SIZE_MAX;

constexpr Command kCommands[] = {
    {"create", "ID", "make a container from a bundle; its program waits", kCreateOptions, Order::kAnywhere, 1,
     1, Create},
    {"start", "ID", "run the program of a created container", kNoOptions, Order::kAnywhere, 1, 1, Start},
    {"run", "ID", "create and start, wait for the end, delete", kRunOptions, Order::kAnywhere, 1, 1, Run},
    {"exec", "ID PROGRAM [ARGUMENT...]", "run a further process in a container", kExecOptions,
     Order::kOptionsFirst, 1, kAnyNumber, Exec},
    {"state", "ID", "print a container's state as JSON", kNoOptions, Order::kAnywhere, 1, 1, State},
    {"list", "", "list the containers", kListOptions, Order::kAnywhere, 0, 0, List},
    {"ps", "ID [PS-OPTION...]", "list the processes of a container", kPsOptions, Order::kOptionsFirst, 1,
     kAnyNumber, Ps},
    {"kill", "ID [SIGNAL]", "send a signal (default TERM) to a container's first process", kKillOptions,
     Order::kAnywhere, 1, 2, Kill},
    {"delete", "ID", "remove a stopped container", kDeleteOptions, Order::kAnywhere, 1, 1, Delete},
    {"pause", "ID", "stop all processes of a container for a while", kNoOptions, Order::kAnywhere, 1, 1,
     Pause},
    {"resume", "ID", "let them go on", kNoOptions, Order::kAnywhere, 1, 1, Resume},
    {"update", "ID", "change a container's limits", kUpdateOptions, Order::kAnywhere, 1, 1, Update},
    {"events", "ID", "print statistics and out-of-memory kills as JSON", kEventsOptions, Order::kAnywhere, 1,
     1, Events},
    {"checkpoint", "ID", "write a running container's processes to files", kCheckpointOptions,
     Order::kAnywhere, 1, 1, Checkpoint},
    {"restore", "ID", "run a container from such files", kRestoreOptions, Order::kAnywhere, 1, 1, Restore},
    {"spec", "", "write a config.json to start from", kSpecOptions, Order::kAnywhere, 0, 0, Spec},
    {"explain", "[ID]", "tell what create would ask the kernel for, without asking", kExplainOptions,
     Order::kAnywhere, 0, 1, Explain},
    {"features", "", "print what this runtime can do as JSON", kNoOptions, Order::kAnywhere, 0, 0, Features},
};

int PrintHelp() {
  std::string text =
      "usage: gantry-oci [global options] COMMAND [options] [arguments]\n\nRuns containers from OCI "
      "bundles.\n\ncommands:\n";
  for (const Command& command : kCommands)
    absl::StrAppendFormat(&text, "  %-10s %s\n", command.name, command.help);
  absl::StrAppend(&text, "\nglobal options:\n", DescribeOptions(kGlobalOptions),
                  "\n`gantry-oci COMMAND --help` shows a command's options.\n");
  return Print(text).ok() ? 0 : 1;
}

int PrintCommandHelp(const Command& command) {
  const std::string text =
      absl::StrCat("usage: gantry-oci ", command.name, " [options] ", command.usage, "\n\n", command.help,
                   "\n\noptions:\n", DescribeOptions(command.options));
  return Print(text).ok() ? 0 : 1;
}

int PrintVersion() {
  return Print(absl::StrCat("gantry-oci version ", GANTRY_VERSION, "\nspec: ", oci::kSpecVersion, "\n")).ok()
             ? 0
             : 1;
}

// /run is root's. One that is root in a user namespace owns it only if the namespace's maker has mounted another
// there, and then says so by USER=root, as rootless containerd does.
std::string DefaultRoot() {
  const char* runtime_dir = ::getenv("XDG_RUNTIME_DIR");
  if (runtime_dir != nullptr && runtime_dir[0] == '/') {
    const char* user = ::getenv("USER");
    const bool calls_itself_root = user != nullptr && absl::string_view(user) == "root";
    const bool ordinary = !sys::IsRoot() && !(::geteuid() == 0 && calls_itself_root);
    if (ordinary) return absl::StrCat(runtime_dir, "/gantry-oci");
  }
  return "/run/gantry-oci";
}

absl::Status ReadGlobals(const Arguments& globals, Context* context) {
  auto root = globals.Find("root");
  context->root = root.has_value() ? *std::move(root) : DefaultRoot();
  if (context->root.empty()) return absl::InvalidArgumentError("--root: must name a directory");
  // Sockets and state lie below it, and are passed on as absolute paths.
  if (context->root[0] != '/') {
    auto absolute = Absolute(context->root);
    if (!absolute.ok()) return absolute.status();
    context->root = *std::move(absolute);
  }
  context->log_path = globals.Get("log");
  const std::string format = globals.Find("log-format").value_or("text");
  if (format != "text" && format != "json") {
    return absl::InvalidArgumentError(absl::StrCat("--log-format \"", format, "\": must be text or json"));
  }
  context->log_json = format == "json";
  context->debug = globals.Has("debug") || globals.Get("log-level") == "debug";
  const std::string manager = globals.Find("cgroup-manager").value_or("cgroupfs");
  if (manager != "cgroupfs" && manager != "systemd") {
    return absl::InvalidArgumentError(
        absl::StrCat("--cgroup-manager \"", manager, "\": must be cgroupfs or systemd"));
  }
  context->systemd_cgroup = globals.Has("systemd-cgroup") || manager == "systemd";
  const std::string rootless = globals.Find("rootless").value_or("auto");
  if (rootless != "auto" && rootless != "true" && rootless != "false") {
    return absl::InvalidArgumentError(
        absl::StrCat("--rootless \"", rootless, "\": must be true, false or auto"));
  }
  if (rootless != "auto") context->rootless = rootless == "true";
  context->criu = globals.Find("criu").value_or("criu");
  return absl::OkStatus();
}

int RunCommand(const Context& context, const Command& command, const char* const* begin,
               const char* const* end) {
  auto arguments = Arguments::Parse(begin, end, command.options, command.order);
  if (!arguments.ok()) {
    context.Error(absl::StrCat(command.name, ": ", arguments.status().message()));
    return 1;
  }
  if (arguments->Has("help")) return PrintCommandHelp(command);
  const size_t count = arguments->positional().size();
  if (count < command.min_arguments || count > command.max_arguments) {
    context.Error(absl::StrCat(command.name, ": ", count, " arguments given; usage: gantry-oci ",
                               command.name, " [options] ", command.usage));
    return 1;
  }
  const Result result = command.function(context, *arguments);
  if (result.ok()) return *result;
  context.Error(absl::StrCat(command.name, ": ", result.status().message()));
  return 1;
}

// Commands after which a program of a container may reach this program's file (CVE-2019-5736).
bool StartsProcesses(absl::string_view name) {
  for (const auto* word = gantry_moving_commands; **word != '\0'; word++) {
    if (name == *word) return true;
  }
  return false;
}

int Main(int argc, const char* const* argv) {
  Context context;
  const auto fail = [&context](absl::string_view message) {
    context.Error(message);
    return 1;
  };
  auto globals = Arguments::Parse(argv + 1, argv + argc, kGlobalOptions, Order::kOptionsFirst);
  if (!globals.ok()) return fail(globals.status().message());
  if (globals->Has("version")) return PrintVersion();
  if (globals->Has("help") || globals->positional().empty()) return PrintHelp();
  if (absl::Status status = ReadGlobals(*globals, &context); !status.ok()) return fail(status.message());
  const absl::string_view name = globals->positional()[0];
  if (name == "help") return PrintHelp();
  for (const Command& command : kCommands) {
    if (name == command.name && StartsProcesses(name)) {
      context.own_file = sys::TakeEarlyMount();
      if (!context.own_file) {
        auto own_file = sys::RunFromReadOnlyMount(const_cast<char**>(argv));
        if (!own_file.ok()) return fail(own_file.status().message());
        context.own_file = *std::move(own_file);
      }
    }
    if (name == command.name) return RunCommand(context, command, globals->rest() + 1, argv + argc);
  }
  return fail(absl::StrCat("unknown command \"", name, "\"; --help lists the commands"));
}

}  // namespace
}  // namespace gantry::oci_cli

const char gantry_moving_commands[][8] = {"create", "run", "exec", "restore", ""};

int main(int argc, char** argv) {
  const int status = gantry::oci_cli::Main(argc, argv);
  // What main would be followed by only takes memory apart. A sanitizer looks at it first.
  if (gantry::sys::kSanitized) return status;
  _exit(status);
}
