#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cmd/gantry/client/container_store.h"
#include "cmd/gantry/client/image_store.h"
#include "cmd/gantry/commands/commands.h"
#include "cmd/gantry/commands/start_error.h"
#include "cmd/gantry/io/session.h"
#include "cmd/gantry/io/terminal.h"
#include "cmd/gantry/run/environment.h"
#include "cmd/gantry/run/health.h"
#include "cmd/gantry/run/merged_root.h"
#include "cmd/gantry/run/spec.h"
#include "cmd/gantry/run/users.h"
#include "cmd/gantry/ui/failure.h"
#include "cmd/gantry/ui/text.h"
#include "runtime/sys/file.h"
#include "runtime/sys/spawn.h"
#include "runtime/sys/status.h"

namespace gantry::cli {
namespace {

// A container on its way into being. Until Keep, everything made so far goes away with the object, so that a
// failure leaves nothing half done.
class NewContainer {
 public:
  NewContainer(Client* client, const RunOptions& options) : client_(client), options_(options) {}
  ~NewContainer() {
    if (kept_) return;
    if (record_) RemoveContainer(client_, container_, /*force=*/true).IgnoreError();
    if (snapshot_ && !record_) {
      RemoveSnapshot(client_, container_.snapshotter(), container_.snapshot_key()).IgnoreError();
    }
  }

  // Snapshot, spec and record.
  absl::Status Create();
  void Keep() { kept_ = true; }

  const containers::Container& container() const { return container_; }
  const std::string& id() const { return container_.id(); }
  const Mounts& mounts() const { return mounts_; }
  const std::string& log_path() const { return log_path_; }

 private:
  absl::Status PrepareSnapshot(const std::string& parent);
  absl::StatusOr<UserFiles> ReadUserFiles() const;
  absl::Status SetLabels(const LoadedImage& loaded);
  absl::Status PrepareLog();

  Client* client_;
  const RunOptions& options_;
  containers::Container container_;
  Mounts mounts_;
  std::string log_path_;
  bool snapshot_ = false;
  bool record_ = false;
  bool kept_ = false;
};

absl::Status NewContainer::PrepareSnapshot(const std::string& parent) {
  snapshots::PrepareSnapshotRequest request;
  snapshots::PrepareSnapshotResponse response;
  request.set_snapshotter(options_.snapshotter);
  request.set_key(id());
  request.set_parent(parent);
  const absl::Status status =
      client_->Call(client_->snapshots(), &snapshots::Snapshots::Stub::Prepare, request, &response);
  if (absl::IsAlreadyExists(status)) {
    return absl::AlreadyExistsError(absl::StrCat("the name \"", id(), "\" is in use by another container"));
  }
  GANTRY_RETURN_IF_ERROR(status);
  snapshot_ = true;
  mounts_ = response.mounts();
  container_.set_snapshotter(options_.snapshotter);
  container_.set_snapshot_key(id());
  return absl::OkStatus();
}

// Only a snapshot whose folders can be entered tells its users; for others, numbers do.
absl::StatusOr<UserFiles> NewContainer::ReadUserFiles() const {
  UserFiles files;
  if (mounts_.size() != 1) return files;
  const auto& mount = mounts_[0];
  const auto folders =
      LayerFolders(mount.type(), mount.source(), {mount.options().begin(), mount.options().end()});
  if (!folders.ok()) return files;
  const absl::StatusOr<MergedRoot> root = MergedRoot::Open(*folders);
  if (!root.ok()) return files;
  const auto read = [&](const char* path, std::string* out) -> absl::Status {
    absl::StatusOr<std::string> text = root->ReadFile(path, kMaxUserFileBytes);
    if (absl::IsNotFound(text.status())) return absl::OkStatus();
    GANTRY_RETURN_IF_ERROR(text.status());
    *out = *std::move(text);
    return absl::OkStatus();
  };
  GANTRY_RETURN_IF_ERROR(read("/etc/passwd", &files.passwd));
  GANTRY_RETURN_IF_ERROR(read("/etc/group", &files.group));
  return files;
}

absl::Status NewContainer::SetLabels(const LoadedImage& loaded) {
  const ImageConfig& image = loaded.config;
  GANTRY_ASSIGN_OR_RETURN(const auto typed, ParseLabels(options_.labels));
  auto& labels = *container_.mutable_labels();
  for (const auto& [key, value] : SafeImageLabels(image.labels)) labels[key] = value;
  for (const auto& [key, value] : typed) labels[key] = value;
  const std::string& stop = options_.stop_signal.empty() ? image.stop_signal : options_.stop_signal;
  if (!stop.empty()) {
    const absl::StatusOr<int> signal = ParseSignal(stop);
    if (!signal.ok() && !options_.stop_signal.empty()) return sys::Annotate(signal.status(), "--stop-signal");
    if (signal.ok()) labels[kStopSignalLabel] = stop;
  }
  GANTRY_ASSIGN_OR_RETURN(const std::string health, HealthCheckOf(loaded.config_json, options_));
  if (!health.empty()) labels[kHealthCheckLabel] = health;
  if (options_.remove) labels[kRemoveLabel] = "true";
  if (!log_path_.empty()) labels[kLogLabel] = log_path_;
  return absl::OkStatus();
}

absl::Status NewContainer::PrepareLog() {
  if (!options_.detach) return absl::OkStatus();
  const std::string folder = absl::StrCat(options_.logs_dir, "/", client_->ns());
  GANTRY_RETURN_IF_ERROR(sys::MkdirAll(folder, 0700));
  log_path_ = absl::StrCat(folder, "/", id(), ".log");
  // An old log of the same name would be continued; its container is gone.
  ::unlink(log_path_.c_str());
  return absl::OkStatus();
}

absl::Status NewContainer::Create() {
  if (!options_.name.empty()) GANTRY_RETURN_IF_ERROR(sys::Annotate(ValidateId(options_.name), "--name"));
  container_.set_id(options_.name.empty() ? RandomHex(6) : options_.name);
  GANTRY_ASSIGN_OR_RETURN(const images::Image image, FindImage(client_, options_.image));
  GANTRY_ASSIGN_OR_RETURN(const LoadedImage loaded, LoadImage(client_, image.target()));
  GANTRY_ASSIGN_OR_RETURN(const std::string chain_id, Unpack(client_, options_.snapshotter, loaded));
  GANTRY_RETURN_IF_ERROR(PrepareSnapshot(chain_id));
  GANTRY_ASSIGN_OR_RETURN(const UserFiles files, ReadUserFiles());
  GANTRY_ASSIGN_OR_RETURN(const oci::Spec spec,
                          BuildSpec(options_, loaded.config, files, id(), client_->ns()));
  GANTRY_RETURN_IF_ERROR(PrepareLog());
  GANTRY_RETURN_IF_ERROR(SetLabels(loaded));
  container_.set_image(image.name());
  container_.mutable_runtime()->set_name(options_.runtime);
  container_.mutable_spec()->set_type_url("types.containerd.io/opencontainers/runtime-spec/1/Spec");
  container_.mutable_spec()->set_value(oci::ToJson(spec));
  containers::CreateContainerRequest request;
  containers::CreateContainerResponse response;
  *request.mutable_container() = container_;
  GANTRY_RETURN_IF_ERROR(
      client_->Call(client_->containers(), &containers::Containers::Stub::Create, request, &response));
  record_ = true;
  return absl::OkStatus();
}

absl::Status CreateTask(Client* client, const NewContainer& container, const RunOptions& options,
                        FifoSet* fifos) {
  tasks::CreateTaskRequest request;
  tasks::CreateTaskResponse response;
  request.set_container_id(container.id());
  *request.mutable_rootfs() = container.mounts();
  request.set_terminal(options.tty);
  if (fifos != nullptr) {
    request.set_stdin(fifos->stdin_path());
    request.set_stdout(fifos->stdout_path());
    request.set_stderr(fifos->stderr_path());
  } else {
    const std::string log = absl::StrCat("file://", container.log_path());
    request.set_stdout(log);
    if (!options.tty) request.set_stderr(log);
  }
  return client->Call(client->tasks(), &tasks::Tasks::Stub::Create, request, &response);
}

absl::Status StartTask(Client* client, const std::string& id) {
  tasks::StartRequest request;
  tasks::StartResponse response;
  request.set_container_id(id);
  return client->Call(client->tasks(), &tasks::Tasks::Stub::Start, request, &response);
}

// --rm of a detached container: nobody is left to remove it, so another gantry stays behind for that.
absl::Status LeaveReaper(const Globals& globals, const std::string& id) {
  sys::SpawnOptions spawn;
  spawn.path = "/proc/self/exe";
  spawn.argv = {"gantry", "--address", globals.address, "--namespace", globals.ns, "reap", id};
  spawn.cwd = "/";
  spawn.session = sys::SpawnOptions::Session::kNewSession;
  return sys::Spawn(spawn).status();
}

absl::StatusOr<int> RunDetached(const Globals& globals, Client* client, NewContainer* container,
                                const RunOptions& options, const std::string& what) {
  GANTRY_RETURN_IF_ERROR(
      ExplainStart(what, options.command, CreateTask(client, *container, options, nullptr)));
  GANTRY_RETURN_IF_ERROR(ExplainStart(what, options.command, StartTask(client, container->id())));
  if (options.remove) GANTRY_RETURN_IF_ERROR(Explain(what, LeaveReaper(globals, container->id())));
  container->Keep();
  std::printf("%s\n", container->id().c_str());
  return 0;
}

absl::StatusOr<int> RunAttached(Client* client, NewContainer* container, const RunOptions& options,
                                SignalSource* signals, const std::string& what) {
  absl::StatusOr<std::unique_ptr<FifoSet>> fifos = FifoSet::Create(options.interactive, options.tty);
  GANTRY_RETURN_IF_ERROR(Explain(what, fifos.status()));
  GANTRY_RETURN_IF_ERROR(
      ExplainStart(what, options.command, CreateTask(client, *container, options, fifos->get())));
  const bool raw = options.tty && options.interactive && ::isatty(STDIN_FILENO) == 1;
  Session session(
      {.client = client, .signals = signals, .fifos = fifos->get(), .id = container->id(), .terminal = raw});
  session.Watch();
  std::unique_ptr<RawTerminal> terminal;
  if (raw) {
    absl::StatusOr<std::unique_ptr<RawTerminal>> entered = RawTerminal::Enter(STDIN_FILENO);
    GANTRY_RETURN_IF_ERROR(Explain(what, entered.status()));
    terminal = *std::move(entered);
  }
  GANTRY_RETURN_IF_ERROR(ExplainStart(what, options.command, StartTask(client, container->id())));
  const absl::StatusOr<Session::Outcome> outcome = session.Run();
  terminal.reset();
  if (!outcome.ok()) container->Keep();  // the daemon is away; the container may well run on
  GANTRY_RETURN_IF_ERROR(
      Explain(absl::StrCat("lost sight of container ", container->id()), outcome.status()));
  if (outcome->detached || !options.remove) container->Keep();
  if (outcome->detached) return 0;
  return outcome->exit_code;
}

}  // namespace

absl::StatusOr<int> RunCommand(const Globals& globals, const RunOptions& options) {
  SignalSource signals;  // before gRPC starts its threads, which inherit the mask
  Client client(globals.Connection());
  const std::string what = absl::StrCat("cannot run image ", options.image);
  if (options.tty && options.interactive && !options.detach && ::isatty(STDIN_FILENO) != 1) {
    return Failure({.what = what,
                    .why = "-t and -i together connect a terminal, and standard input is none",
                    .next = "leave -t away, or run gantry from a terminal"});
  }
  NewContainer container(&client, options);
  {
    absl::StatusOr<std::unique_ptr<Lease>> lease = Lease::Create(&client);
    GANTRY_RETURN_IF_ERROR(Explain(what, lease.status()));
    GANTRY_RETURN_IF_ERROR(ExplainCreate(what, container.Create()));
    GANTRY_RETURN_IF_ERROR(Explain(what, (*lease)->End(/*collect=*/false)));
  }
  if (options.detach) return RunDetached(globals, &client, &container, options, what);
  return RunAttached(&client, &container, options, &signals, what);
}

absl::StatusOr<int> ReapCommand(const Globals& globals, const std::string& id) {
  Client client(globals.Connection());
  // A daemon that is away comes back, and knows the exit then.
  while (true) {
    const absl::Status status = WaitTask(&client, id, kNoTimeout).status();
    if (!absl::IsUnavailable(status)) break;
    ::poll(nullptr, 0, 500);
  }
  const absl::StatusOr<containers::Container> container = FindContainer(&client, id);
  if (absl::IsNotFound(container.status())) return 0;
  GANTRY_RETURN_IF_ERROR(container.status());
  GANTRY_RETURN_IF_ERROR(RemoveContainer(&client, *container, /*force=*/false));
  return 0;
}

}  // namespace gantry::cli
