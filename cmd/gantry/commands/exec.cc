#include <unistd.h>

#include <cstdio>
#include <memory>

#include "absl/strings/str_cat.h"
#include "cmd/gantry/client/container_store.h"
#include "cmd/gantry/commands/commands.h"
#include "cmd/gantry/commands/start_error.h"
#include "cmd/gantry/io/session.h"
#include "cmd/gantry/io/terminal.h"
#include "cmd/gantry/run/environment.h"
#include "cmd/gantry/run/merged_root.h"
#include "cmd/gantry/run/users.h"
#include "cmd/gantry/ui/failure.h"
#include "runtime/sys/status.h"

namespace gantry::cli {
namespace {

absl::StatusOr<std::string> ReadUserFile(const MergedRoot& root, const char* path) {
  absl::StatusOr<std::string> text = root.ReadFile(path, kMaxUserFileBytes);
  if (absl::IsNotFound(text.status())) return std::string();
  return text;
}

// The user in terms of the container's files as they are now.
absl::StatusOr<oci::User> UserIn(Client* client, const containers::Container& container,
                                 const std::string& typed) {
  snapshots::MountsRequest request;
  snapshots::MountsResponse response;
  request.set_snapshotter(container.snapshotter());
  request.set_key(container.snapshot_key());
  GANTRY_RETURN_IF_ERROR(
      client->Call(client->snapshots(), &snapshots::Snapshots::Stub::Mounts, request, &response));
  std::string passwd;
  std::string group;
  if (response.mounts_size() == 1) {
    const auto& mount = response.mounts(0);
    const auto folders =
        LayerFolders(mount.type(), mount.source(), {mount.options().begin(), mount.options().end()});
    if (folders.ok()) {
      GANTRY_ASSIGN_OR_RETURN(const MergedRoot root, MergedRoot::Open(*folders));
      GANTRY_ASSIGN_OR_RETURN(passwd, ReadUserFile(root, "/etc/passwd"));
      GANTRY_ASSIGN_OR_RETURN(group, ReadUserFile(root, "/etc/group"));
    }
  }
  GANTRY_ASSIGN_OR_RETURN(const ResolvedUser user, ResolveUser(typed, passwd, group));
  return user.user;
}

absl::StatusOr<oci::Process> BuildProcess(Client* client, const containers::Container& container,
                                          const ExecOptions& options) {
  GANTRY_ASSIGN_OR_RETURN(const oci::Spec spec,
                          oci::ParseSpec(container.spec().value(), "the container's spec"));
  if (!spec.process)
    return absl::FailedPreconditionError("the container's spec has no process to take after");
  oci::Process process = *spec.process;
  process.args = options.command;
  process.terminal = options.tty;
  process.console_size.reset();
  if (options.tty && !HasVariable(process.env, "TERM")) process.env.emplace_back("TERM=xterm");
  GANTRY_RETURN_IF_ERROR(sys::Annotate(AddVariables(options.env, &process.env), "-e"));
  if (!options.workdir.empty()) process.cwd = options.workdir;
  if (process.cwd.empty() || process.cwd[0] != '/') {
    return absl::InvalidArgumentError(
        absl::StrCat("-w: the working directory \"", process.cwd, "\" must be an absolute path"));
  }
  if (!options.user.empty()) {
    const absl::StatusOr<oci::User> user = UserIn(client, container, options.user);
    GANTRY_RETURN_IF_ERROR(sys::Annotate(user.status(), "-u"));
    process.user = *user;
  }
  return process;
}

// Removes the process from the task's list, whatever became of it.
class ExecProcess {
 public:
  ExecProcess(Client* client, std::string id, std::string exec_id)
      : client_(client), id_(std::move(id)), exec_id_(std::move(exec_id)) {}
  ~ExecProcess() {
    if (kept_) return;
    tasks::DeleteProcessRequest request;
    tasks::DeleteResponse response;
    request.set_container_id(id_);
    request.set_exec_id(exec_id_);
    client_->Call(client_->tasks(), &tasks::Tasks::Stub::DeleteProcess, request, &response).IgnoreError();
  }
  void Keep() { kept_ = true; }

 private:
  Client* client_;
  std::string id_;
  std::string exec_id_;
  bool kept_ = false;
};

absl::Status Start(Client* client, const std::string& id, const std::string& exec_id) {
  tasks::StartRequest request;
  tasks::StartResponse response;
  request.set_container_id(id);
  request.set_exec_id(exec_id);
  return client->Call(client->tasks(), &tasks::Tasks::Stub::Start, request, &response);
}

absl::StatusOr<int> Attach(Client* client, SignalSource* signals, FifoSet* fifos, ExecProcess* process,
                           const std::string& id, const std::string& exec_id, const ExecOptions& options,
                           const std::string& what) {
  const bool raw = options.tty && options.interactive;
  Session session(
      {.client = client, .signals = signals, .fifos = fifos, .id = id, .exec_id = exec_id, .terminal = raw});
  session.Watch();
  std::unique_ptr<RawTerminal> terminal;
  if (raw) {
    absl::StatusOr<std::unique_ptr<RawTerminal>> entered = RawTerminal::Enter(STDIN_FILENO);
    GANTRY_RETURN_IF_ERROR(Explain(what, entered.status()));
    terminal = *std::move(entered);
  }
  GANTRY_RETURN_IF_ERROR(ExplainStart(what, options.command, Start(client, id, exec_id)));
  const absl::StatusOr<Session::Outcome> outcome = session.Run();
  terminal.reset();
  GANTRY_RETURN_IF_ERROR(Explain(what, outcome.status()));
  if (outcome->detached) {
    process->Keep();
    return 0;
  }
  return outcome->exit_code;
}

}  // namespace

absl::StatusOr<int> ExecCommand(const Globals& globals, const ExecOptions& options) {
  SignalSource signals;  // before gRPC starts its threads, which inherit the mask
  Client client(globals.Connection());
  const std::string what =
      absl::StrCat("cannot run ", options.command[0], " in container ", options.container);
  absl::StatusOr<containers::Container> container = FindContainer(&client, options.container);
  GANTRY_RETURN_IF_ERROR(
      Explain(what, container.status(),
              absl::IsNotFound(container.status()) ? "see what there is: gantry ps -a" : ""));
  const absl::StatusOr<std::optional<Process>> task = FindTask(&client, container->id());
  GANTRY_RETURN_IF_ERROR(Explain(what, task.status()));
  if (StateName(*task) != "running") {
    return Failure(
        {.what = what,
         .why = absl::StrCat("container ", container->id(), " is not running, it is ", StateName(*task)),
         .next = "a command can be run only in a running container: gantry ps"});
  }
  absl::StatusOr<oci::Process> process = BuildProcess(&client, *container, options);
  GANTRY_RETURN_IF_ERROR(Explain(what, process.status()));
  std::unique_ptr<FifoSet> fifos;
  if (!options.detach) {
    absl::StatusOr<std::unique_ptr<FifoSet>> made = FifoSet::Create(options.interactive, options.tty);
    GANTRY_RETURN_IF_ERROR(Explain(what, made.status()));
    fifos = *std::move(made);
  }
  tasks::ExecProcessRequest request;
  google::protobuf::Empty response;
  request.set_container_id(container->id());
  request.set_exec_id(RandomHex(8));
  request.set_terminal(options.tty);
  if (fifos) {
    request.set_stdin(fifos->stdin_path());
    request.set_stdout(fifos->stdout_path());
    request.set_stderr(fifos->stderr_path());
  }
  request.mutable_spec()->set_type_url("types.containerd.io/opencontainers/runtime-spec/1/Process");
  request.mutable_spec()->set_value(oci::ToJson(*process));
  const absl::Status made = client.Call(client.tasks(), &tasks::Tasks::Stub::Exec, request, &response);
  GANTRY_RETURN_IF_ERROR(ExplainStart(what, options.command, made));
  ExecProcess exec(&client, container->id(), request.exec_id());
  if (!options.detach) {
    return Attach(&client, &signals, fifos.get(), &exec, container->id(), request.exec_id(), options, what);
  }
  GANTRY_RETURN_IF_ERROR(
      ExplainStart(what, options.command, Start(&client, container->id(), request.exec_id())));
  exec.Keep();
  return 0;
}

}  // namespace gantry::cli
