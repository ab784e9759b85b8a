#include "cmd/gantry/commands/flags.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cmd/gantry/client/image_store.h"
#include "cmd/gantry/commands/commands.h"
#include "cmd/gantry/ui/failure.h"

namespace gantry::cli {
namespace {

constexpr char kDefaultAddress[] = "/run/gantry/gantry.sock";
constexpr char kDefaultRuntime[] = "io.containerd.gantry.v2";
constexpr char kDefaultLogs[] = "/var/log/gantry";

// Everything that a command line can set; the chosen command's function reads its part.
struct Line {
  Globals globals;
  std::string format = "table";
  RunOptions run;
  ExecOptions exec;
  PsOptions ps;
  KillOptions kill;
  StopOptions stop;
  RemoveOptions remove;
  RemoveOptions image_remove;
  LogsOptions logs;
  ImportOptions import_options;
  std::vector<std::string> names;
  std::vector<std::string> filters;
  bool images_quiet = false;
  std::function<absl::StatusOr<int>()> action;
};

// An option that may be given several times, each time with one value: CLI11 would else take all that follows.
CLI::Option* Repeated(CLI::App* app, const char* name, std::vector<std::string>& target, const char* help) {
  return app->add_option(name, target, help)->allow_extra_args(false);
}

CLI::App* Command(CLI::App* app, Line* line, const char* name, const char* help,
                  std::function<absl::StatusOr<int>()> action) {
  CLI::App* command = app->add_subcommand(name, help);
  command->fallthrough();  // -a, -n and --format may stand behind the command as well
  command->final_callback([line, action = std::move(action)] { line->action = action; });
  return command;
}

// What follows the first word that is no option belongs to the container's command, options included.
std::vector<std::string> Rest(const CLI::App* app) { return app->remaining(); }

void AddRun(CLI::App* app, Line* line) {
  RunOptions& run = line->run;
  CLI::App* command = Command(app, line, "run", "Run a command in a new container", nullptr);
  command->prefix_command()->fallthrough(false);
  command->footer(
      "The image and its command follow the options: gantry run [OPTIONS] IMAGE [COMMAND [ARG...]]");
  command->add_flag("-d,--detach", run.detach, "Leave it running and print its id");
  command->add_flag("--rm", run.remove, "Remove the container when it ends");
  command->add_flag("-i,--interactive", run.interactive, "Connect standard input");
  command->add_flag("-t,--tty", run.tty, "Give it a terminal");
  command->add_flag("--read-only", run.read_only, "Mount its root file system read-only");
  command->add_option("--name", run.name, "Id of the container (default: random)");
  command->add_option("-u,--user", run.user, "User, as NAME or UID[:GROUP]");
  command->add_option("-w,--workdir", run.workdir, "Working directory");
  command->add_option("--hostname", run.hostname, "Host name (default: the id)");
  command->add_option("-m,--memory", run.memory, "Limit of memory, such as 512m");
  command->add_option("--cpus", run.cpus, "Limit of processors, such as 1.5");
  command->add_option("--pids-limit", run.pids_limit, "Limit of processes; -1 for none");
  command->add_option("--entrypoint", run.entrypoint, "Replace the image's entrypoint");
  command->add_option("--stop-signal", run.stop_signal, "What gantry stop sends first (default: TERM)");
  command->add_option("--health-cmd", run.health_cmd, "Shell command that tells whether it is healthy");
  command->add_option("--health-interval", run.health_interval, "Time between checks (default: 30s)");
  command->add_option("--health-timeout", run.health_timeout, "Time that a check may take (default: 30s)");
  command->add_option("--health-start-period", run.health_start_period,
                      "Time in which failures do not count (default: 0s)");
  command->add_option("--health-start-interval", run.health_start_interval,
                      "Time between checks in the start period (default: 5s)");
  command->add_option("--health-retries", run.health_retries, "Failures in a row that count (default: 3)");
  command->add_flag("--no-healthcheck", run.no_health_check, "Leave out the image's health check");
  command->add_option("--network", run.network, "none (a loopback alone) or host")->capture_default_str();
  Repeated(command, "-e,--env", run.env, "Environment variable, NAME=VALUE or NAME");
  Repeated(command, "--env-file", run.env_files, "File of environment variables");
  Repeated(command, "-l,--label", run.labels, "Label, KEY=VALUE");
  Repeated(command, "-v,--volume", run.volumes, "Bind mount, SOURCE:TARGET[:ro]");
  Repeated(command, "--mount", run.mounts, "Mount, type=bind,source=S,target=T[,readonly]");
  Repeated(command, "--tmpfs", run.tmpfs, "Memory file system, TARGET[:OPTIONS]");
  Repeated(command, "--cap-add", run.cap_add, "Add a capability");
  Repeated(command, "--cap-drop", run.cap_drop, "Drop a capability, or ALL");
  command->add_option("--runtime", run.runtime, "Shim to run it by")->capture_default_str();
  command->add_option("--snapshotter", run.snapshotter, "Snapshotter")->capture_default_str();
  command->add_option("--logs-dir", run.logs_dir, "Where the output of -d goes")
      ->envname("GANTRY_LOGS_DIR")
      ->capture_default_str();
  command->final_callback([line, command] {
    line->action = [line, command]() -> absl::StatusOr<int> {
      std::vector<std::string> rest = Rest(command);
      if (rest.empty()) {
        return Failure({.what = "cannot run a container",
                        .why = "no image was given",
                        .next = "gantry run IMAGE [COMMAND]; see gantry images"});
      }
      line->run.image = rest.front();
      line->run.command.assign(rest.begin() + 1, rest.end());
      return RunCommand(line->globals, line->run);
    };
  });
}

void AddExec(CLI::App* app, Line* line) {
  ExecOptions& exec = line->exec;
  CLI::App* command = Command(app, line, "exec", "Run a command in a running container", nullptr);
  command->prefix_command()->fallthrough(false);
  command->footer(
      "The container and the command follow the options: gantry exec [OPTIONS] CONTAINER COMMAND [ARG...]");
  command->add_flag("-d,--detach", exec.detach, "Don't wait for it");
  command->add_flag("-i,--interactive", exec.interactive, "Connect standard input");
  command->add_flag("-t,--tty", exec.tty, "Give it a terminal");
  command->add_option("-u,--user", exec.user, "User, as NAME or UID[:GROUP]");
  command->add_option("-w,--workdir", exec.workdir, "Working directory");
  Repeated(command, "-e,--env", exec.env, "Environment variable, NAME=VALUE or NAME");
  command->final_callback([line, command] {
    line->action = [line, command]() -> absl::StatusOr<int> {
      const std::vector<std::string> rest = Rest(command);
      if (rest.size() < 2) {
        return Failure({.what = "cannot run a command in a container",
                        .why = rest.empty() ? "no container was given" : "no command was given",
                        .next = "gantry exec CONTAINER COMMAND; see gantry ps"});
      }
      line->exec.container = rest.front();
      line->exec.command.assign(rest.begin() + 1, rest.end());
      return ExecCommand(line->globals, line->exec);
    };
  });
}

void AddContainerCommands(CLI::App* app, Line* line) {
  CLI::App* ps =
      Command(app, line, "ps", "List containers", [line] { return PsCommand(line->globals, line->ps); });
  ps->add_flag("-a,--all", line->ps.all, "Those that don't run as well");
  ps->add_flag("-q,--quiet", line->ps.quiet, "Ids alone");
  CLI::App* kill = Command(app, line, "kill", "Send a signal to containers",
                           [line] { return KillCommand(line->globals, line->kill); });
  kill->add_option("-s,--signal", line->kill.signal, "Name or number")->capture_default_str();
  kill->add_option("CONTAINER", line->kill.containers)->required();
  CLI::App* stop = Command(app, line, "stop", "Stop containers: a signal, then SIGKILL",
                           [line] { return StopCommand(line->globals, line->stop); });
  stop->add_option("-t,--time", line->stop.timeout_seconds, "Seconds before SIGKILL")
      ->check(CLI::Range(0, 86400))
      ->capture_default_str();
  stop->add_option("CONTAINER", line->stop.containers)->required();
  CLI::App* wait = Command(app, line, "wait", "Wait for containers to end and print their exit codes",
                           [line] { return WaitCommand(line->globals, line->names); });
  wait->add_option("CONTAINER", line->names)->required();
  CLI::App* remove = Command(app, line, "rm", "Remove containers",
                             [line] { return RemoveCommand(line->globals, line->remove); });
  remove->add_flag("-f,--force", line->remove.force, "Kill them first if they run");
  remove->add_option("CONTAINER", line->remove.names)->required();
  CLI::App* logs = Command(app, line, "logs", "Print what a detached container wrote",
                           [line] { return LogsCommand(line->globals, line->logs); });
  logs->add_flag("-f,--follow", line->logs.follow, "Go on until it ends");
  logs->add_option("CONTAINER", line->logs.container)->required();
  CLI::App* inspect =
      Command(app, line, "inspect", "Print all that is known of containers or images, as JSON",
              [line] { return InspectCommand(line->globals, line->names); });
  inspect->add_option("NAME", line->names)->required();
  CLI::App* reap = Command(app, line, "reap", "Wait for a container and remove it",
                           [line] { return ReapCommand(line->globals, line->names[0]); });
  reap->group("");  // for gantry itself: see --rm
  reap->add_option("CONTAINER", line->names)->required();
}

void AddImageCommands(CLI::App* app, Line* line) {
  const auto list = [line] { return ImagesCommand(line->globals, line->images_quiet); };
  CLI::App* images = Command(app, line, "images", "List images", list);
  images->add_flag("-q,--quiet", line->images_quiet, "Names alone");
  CLI::App* image = app->add_subcommand("image", "Import, list and remove images");
  image->fallthrough();
  image->require_subcommand(1);
  CLI::App* ls = Command(image, line, "ls", "List images", list);
  ls->add_flag("-q,--quiet", line->images_quiet, "Names alone");
  ImportOptions& options = line->import_options;
  CLI::App* import_command =
      Command(image, line, "import", "Import an OCI archive or the output of docker save",
              [line] { return ImageImportCommand(line->globals, line->import_options); });
  import_command->add_option("--name", options.name, "Name of the image (default: what the archive says)");
  import_command->add_option("--snapshotter", options.snapshotter, "Where it is unpacked")
      ->capture_default_str();
  import_command->add_flag("!--no-unpack", options.unpack, "Leave unpacking to the first run");
  import_command->add_option("FILE", options.path, "The archive; - is standard input")->required();
  CLI::App* remove = Command(image, line, "rm", "Remove images",
                             [line] { return ImageRemoveCommand(line->globals, line->image_remove); });
  remove->add_flag("-f,--force", line->image_remove.force, "Even if containers were made from them");
  remove->add_option("IMAGE", line->image_remove.names)->required();
}

void AddDaemonCommands(CLI::App* app, Line* line) {
  CLI::App* events = Command(app, line, "events", "Print what happens, until interrupted",
                             [line] { return EventsCommand(line->globals, line->filters); });
  events->add_option("FILTER", line->filters, "containerd's filters, such as topic==\"/tasks/exit\"");
  Command(app, line, "version", "Print the versions of gantry and of the daemon",
          [line] { return VersionCommand(line->globals); });
}

void AddAll(CLI::App* app, Line* line) {
  line->run.runtime = kDefaultRuntime;
  line->run.logs_dir = kDefaultLogs;
  line->run.snapshotter = kDefaultSnapshotter;
  line->import_options.snapshotter = kDefaultSnapshotter;
  line->globals.address = kDefaultAddress;
  line->globals.ns = "default";
  app->add_option("-a,--address", line->globals.address, "The daemon's socket")
      ->envname("GANTRY_ADDRESS")
      ->capture_default_str();
  app->add_option("-n,--namespace", line->globals.ns, "containerd's namespace")
      ->envname("GANTRY_NAMESPACE")
      ->capture_default_str();
  app->add_option("--format", line->format, "table or json (one object a line)")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  app->set_version_flag("-V,--version", absl::StrCat("gantry ", GANTRY_VERSION));
  app->require_subcommand(1);
  AddRun(app, line);
  AddExec(app, line);
  AddContainerCommands(app, line);
  AddImageCommands(app, line);
  AddDaemonCommands(app, line);
}

}  // namespace

absl::StatusOr<int> Dispatch(int argc, const char* const* argv) {
  Line line;
  CLI::App app("Runs and looks after containers, through gantryd or any daemon that speaks containerd's API.",
               "gantry");
  AddAll(&app, &line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {  // --help, --version
      app.exit(error);
      return 0;
    }
    return Failure({.what = "cannot read the command line",
                    .why = error.what(),
                    .next = "gantry --help, or gantry COMMAND --help"});
  }
  line.globals.json = line.format == "json";
  return line.action();
}

}  // namespace gantry::cli
