#include "daemon/wiring/runtime.h"

#include <stdlib.h>
#include <unistd.h>

#include <climits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "api/any/any.h"
#include "api/proto/containerd/types/introspection.pb.h"
#include "daemon/filters/filter.h"
#include "daemon/metadata/containers.h"
#include "daemon/services/mounts.h"
#include "daemon/services/sandbox_services.h"
#include "daemon/services/tasks_service.h"
#include "daemon/tasks/runtime_name.h"
#include "daemon/tasks/shim_command.h"
#include "daemon/wiring/plugins.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry::wiring {
namespace {

constexpr absl::Duration kInfoTimeout = absl::Seconds(10);

absl::StatusOr<std::string> OwnBinary() {
  char path[PATH_MAX];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof(path));
  if (size < 0) return sys::ErrnoStatus("readlink", "/proc/self/exe");
  return std::string(path, static_cast<size_t>(size));
}

// Programs and libraries that were installed into opt_path (`ctr install`) are found by shims before others.
void AddOptDirectory(const std::string& path, tasks::ManagerOptions* options) {
  if (path.empty()) return;
  options->path = absl::StrCat(path, "/bin:", options->path);
  const char* const libraries = getenv("LD_LIBRARY_PATH");
  std::vector<std::string> environment;
  for (std::string& variable : options->host.environment) {
    if (!absl::StartsWith(variable, "PATH=") && !absl::StartsWith(variable, "LD_LIBRARY_PATH=")) {
      environment.push_back(std::move(variable));
    }
  }
  environment.push_back(absl::StrCat("PATH=", options->path));
  // Never an empty entry: that would be the working directory.
  const bool more = libraries != nullptr && libraries[0] != '\0';
  environment.push_back(
      absl::StrCat("LD_LIBRARY_PATH=", path, "/lib", more ? ":" : "", more ? libraries : ""));
  options->host.environment = std::move(environment);
}

absl::StatusOr<tasks::ManagerOptions> OptionsFrom(const config::Config& config) {
  tasks::ManagerOptions options;
  options.root = config.root;
  options.state = config.state;
  options.host.grpc_address = config.grpc.socket.address;
  options.host.ttrpc_address = config.TtrpcAddress();
  GANTRY_ASSIGN_OR_RETURN(options.host.daemon_binary, OwnBinary());
  for (char** variable = environ; *variable != nullptr; ++variable)
    options.host.environment.emplace_back(*variable);
  const char* const path = getenv("PATH");
  options.path = path == nullptr ? "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" : path;
  AddOptDirectory(config.opt_path, &options);
  options.runtime = config.runtime;
  options.host.shim_env = config.runtime.shim_env;
  options.timeouts = config.timeouts;
  options.host.debug = log::Enabled(log::Level::kDebug);
  return options;
}

// PluginInfo of the runtime: what a shim's `-info` says of itself. On a worker, which waits for the loop.
absl::StatusOr<google::protobuf::Any> ShimInfo(sys::EventLoop* loop, const tasks::ManagerOptions& options,
                                               const google::protobuf::Any& request) {
  GANTRY_ASSIGN_OR_RETURN(auto asked, any::Unpack<containerd::types::RuntimeRequest>(request));
  GANTRY_ASSIGN_OR_RETURN(const std::string program,
                          tasks::ShimProgram(asked.runtime_path(), options.runtime.runtimes));
  const std::string own = options.host.daemon_binary.substr(0, options.host.daemon_binary.rfind('/'));
  sys::SpawnOptions spawn;
  GANTRY_ASSIGN_OR_RETURN(spawn.path, tasks::FindProgram(program, options.path, own));
  spawn.argv = {spawn.path, "-info"};
  spawn.env = options.host.environment;
  std::string input;
  if (asked.has_options()) input = asked.options().SerializeAsString();
  struct Answer {
    absl::StatusOr<std::string> output;
    absl::Notification ready;
  };
  auto answer = std::make_shared<Answer>();
  loop->Post([loop, spawn, input, answer] {
    tasks::RunShimCommand(loop, spawn, input, kInfoTimeout, [answer](absl::StatusOr<std::string> output) {
      answer->output = std::move(output);
      answer->ready.Notify();
    });
  });
  if (!answer->ready.WaitForNotificationWithTimeout(kInfoTimeout * 2)) {
    return absl::DeadlineExceededError("the daemon is stopping");
  }
  GANTRY_RETURN_IF_ERROR(answer->output.status());
  containerd::types::RuntimeInfo info;
  if (!info.ParseFromString(*answer->output)) {
    return absl::InternalError(absl::StrCat("what ", spawn.path, " -info says is no RuntimeInfo"));
  }
  google::protobuf::Any packed;
  any::Pack(info, &packed);
  return packed;
}

absl::StatusOr<tasks::ContainerRecord> Lookup(const Storage& storage, const tasks::TaskKey& key) {
  GANTRY_ASSIGN_OR_RETURN(metadata::Container container, storage.containers->Get({key.ns, ""}, key.id));
  tasks::ContainerRecord record;
  record.runtime = container.runtime().name();
  record.runtime_options.Swap(container.mutable_runtime()->mutable_options());
  record.spec.Swap(container.mutable_spec());
  if (container.sandbox().empty()) return record;
  const absl::Status known = storage.sandboxes->Get({key.ns, ""}, container.sandbox()).status();
  if (known.ok()) {
    record.sandbox = container.sandbox();
  } else if (absl::IsNotFound(known)) {
    // As with containerd: of a client that knows no records of sandboxes. It gets a shim as any other.
    log::Warn("no record of a container's sandbox", {{"id", key.id}, {"sandbox", container.sandbox()}});
  } else {
    return known;
  }
  return record;
}

absl::StatusOr<std::vector<tasks::LabelledContainer>> ListLabelled(const Storage& storage,
                                                                   absl::string_view label) {
  GANTRY_ASSIGN_OR_RETURN(const filters::Filter filter,
                          filters::Filter::Parse(absl::StrCat("labels.\"", label, "\"")));
  GANTRY_ASSIGN_OR_RETURN(const std::vector<metadata::Namespace> namespaces, storage.namespaces->List());
  std::vector<tasks::LabelledContainer> out;
  for (const metadata::Namespace& ns : namespaces) {
    GANTRY_ASSIGN_OR_RETURN(const auto containers, storage.containers->List({ns.name(), ""}, filter));
    for (const metadata::Container& container : containers) {
      out.push_back({{ns.name(), container.id()}, {container.labels().begin(), container.labels().end()}});
    }
  }
  return out;
}

absl::StatusOr<tasks::shim::CreateTaskRequest> PrepareRestart(Storage& storage,
                                                              const tasks::LabelledContainer& labelled,
                                                              int count) {
  const metadata::Scope scope{labelled.key.ns, ""};
  GANTRY_ASSIGN_OR_RETURN(metadata::Container container, storage.containers->Get(scope, labelled.key.id));
  (*container.mutable_labels())[tasks::kRestartCount] = absl::StrCat(count);
  GANTRY_RETURN_IF_ERROR(
      storage.containers->Update(scope, container, {absl::StrCat("labels.", tasks::kRestartCount)}).status());
  tasks::shim::CreateTaskRequest request;
  const bool terminal = absl::StrContains(container.spec().value(), "\"terminal\":true");
  request.set_terminal(terminal);
  if (const auto uri = labelled.labels.find(tasks::kRestartLogUri); uri != labelled.labels.end()) {
    request.set_stdout(uri->second);
    if (!terminal) request.set_stderr(uri->second);
  }
  if (container.snapshot_key().empty()) return request;
  const auto snapshotter = storage.snapshotters.find(container.snapshotter());
  if (snapshotter == storage.snapshotters.end()) {
    return absl::FailedPreconditionError(absl::StrCat("no snapshotter ", container.snapshotter()));
  }
  GANTRY_ASSIGN_OR_RETURN(const auto mounts, snapshotter->second->Mounts(snapshotter::ScopedKey(
                                                 labelled.key.ns, container.snapshot_key())));
  services::ToProto(mounts, request.mutable_rootfs());
  return request;
}

std::unique_ptr<tasks::RestartMonitor> MakeRestartMonitor(const Core& core, Storage* storage,
                                                          tasks::Manager* manager) {
  tasks::RestartMonitor::Parts parts{core.loop,
                                     core.records,
                                     core.exchange,
                                     manager,
                                     [storage] { return ListLabelled(*storage, tasks::kRestartStatus); },
                                     [storage](const tasks::LabelledContainer& container, int count) {
                                       return PrepareRestart(*storage, container, count);
                                     }};
  return std::make_unique<tasks::RestartMonitor>(std::move(parts), core.config->restart_interval);
}

absl::StatusOr<std::optional<tasks::HealthMonitor::Asking>> ReadHealthCheck(const Storage& storage,
                                                                            const tasks::TaskKey& key) {
  GANTRY_ASSIGN_OR_RETURN(metadata::Container container, storage.containers->Get({key.ns, ""}, key.id));
  const auto label = container.labels().find(tasks::kHealthCheck);
  if (label == container.labels().end()) return std::nullopt;
  return tasks::HealthMonitor::Asking{label->second, container.spec().value()};
}

absl::Status WriteHealth(Storage& storage, const tasks::TaskKey& key, const std::string& status,
                         const std::string& json) {
  metadata::Container container;
  container.set_id(key.id);
  (*container.mutable_labels())[tasks::kHealthStatus] = status;
  google::protobuf::Any& extension = (*container.mutable_extensions())[tasks::kHealthStatus];
  extension.set_type_url(tasks::kHealthStatus);
  extension.set_value(json);
  return storage.containers
      ->Update(
          {key.ns, ""}, container,
          {absl::StrCat("labels.", tasks::kHealthStatus), absl::StrCat("extensions.", tasks::kHealthStatus)})
      .status();
}

std::unique_ptr<tasks::HealthMonitor> MakeHealthMonitor(const Core& core, Storage* storage,
                                                        tasks::Manager* manager) {
  tasks::HealthMonitor::Parts parts{
      core.loop,
      core.records,
      core.exchange,
      manager,
      [storage]() -> absl::StatusOr<std::vector<tasks::TaskKey>> {
        GANTRY_ASSIGN_OR_RETURN(const auto labelled, ListLabelled(*storage, tasks::kHealthCheck));
        std::vector<tasks::TaskKey> keys;
        for (const tasks::LabelledContainer& container : labelled) keys.push_back(container.key);
        return keys;
      },
      [storage](const tasks::TaskKey& key) { return ReadHealthCheck(*storage, key); },
      [storage](const tasks::TaskKey& key, const std::string& status, const std::string& json) {
        return WriteHealth(*storage, key, status, json);
      }};
  return std::make_unique<tasks::HealthMonitor>(std::move(parts));
}

absl::Status AddSandboxes(Core& core, Storage* storage, const tasks::ManagerOptions& options,
                          Runtime* runtime, Services* services) {
  GANTRY_ASSIGN_OR_RETURN(
      runtime->sandboxes,
      sandbox::Controller::Create({core.loop, core.records, core.bulk, core.exchange}, options));
  services->push_back(std::make_unique<services::SandboxStoreService>(&*storage->sandboxes, core.records));
  services->push_back(std::make_unique<services::SandboxControllerService>(runtime->sandboxes.get(),
                                                                           core.loop, core.exchange));
  core.plugins.push_back(Plugin(kSandboxStorePlugin, "local"));
  core.plugins.push_back(Plugin(kSandboxControllerPlugin, sandbox::kControllerName));
  core.plugins.push_back(Plugin(kGrpcPlugin, "sandboxes"));
  core.plugins.push_back(Plugin(kGrpcPlugin, "sandbox-controllers"));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Runtime>> MakeRuntime(Core& core, Storage* storage, sys::UniqueFd event_socket,
                                                     Services* services) {
  GANTRY_ASSIGN_OR_RETURN(const tasks::ManagerOptions options, OptionsFrom(*core.config));
  auto runtime = std::make_unique<Runtime>();
  tasks::Manager::Parts parts{
      core.loop,
      core.records,
      core.bulk,
      core.exchange,
      [storage](const tasks::TaskKey& key) { return Lookup(*storage, key); },
      [runtime = runtime.get()](const tasks::TaskKey& key) { return runtime->sandboxes->Endpoint(key); }};
  GANTRY_ASSIGN_OR_RETURN(runtime->manager, tasks::Manager::Create(std::move(parts), options));
  GANTRY_RETURN_IF_ERROR(AddSandboxes(core, storage, options, runtime.get(), services));
  GANTRY_ASSIGN_OR_RETURN(
      runtime->endpoint,
      tasks::EventEndpoint::Start(core.loop, std::move(event_socket), options.host.ttrpc_address,
                                  [manager = runtime->manager.get()](containerd::types::Envelope envelope) {
                                    return manager->Forward(std::move(envelope));
                                  }));
  runtime->checkpoints = std::make_unique<services::CheckpointImages>(
      &*storage->content, &*storage->containers, absl::StrCat(options.root, "/checkpoints"));
  services->push_back(std::make_unique<services::TasksService>(runtime->manager.get(), core.loop,
                                                               runtime->checkpoints.get(), core.bulk));

  runtime->restarts = MakeRestartMonitor(core, storage, runtime->manager.get());
  runtime->health = MakeHealthMonitor(core, storage, runtime->manager.get());

  services::PluginRecord record = Plugin(kRuntimePlugin, "task");
  record.platform_bound = true;
  record.requires_types = {kEventPlugin, kMetadataPlugin};
  record.info = [loop = core.loop, options](const google::protobuf::Any& request) {
    return ShimInfo(loop, options, request);
  };
  core.plugins.push_back(std::move(record));
  AddServicePlugins("tasks", &core.plugins);
  core.plugins.push_back(Plugin(kInternalPlugin, "restart"));
  services::PluginRecord opt = Plugin(kInternalPlugin, "opt");
  opt.exports["path"] = core.config->opt_path;
  core.plugins.push_back(std::move(opt));
  return runtime;
}

}  // namespace gantry::wiring
