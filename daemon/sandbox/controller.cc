#include "daemon/sandbox/controller.h"

#include <signal.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "api/proto/containerd/events/sandbox.pb.h"
#include "daemon/tasks/runtime_name.h"
#include "daemon/tasks/shim_command.h"
#include "daemon/tasks/shim_launch.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry::sandbox {
namespace {

constexpr char kService[] = "containerd.runtime.sandbox.v1.Sandbox";
// A foreign shim's `start` execs itself, and may boot a machine.
constexpr absl::Duration kStartTimeout = absl::Seconds(30);

absl::Status NoSandbox(const tasks::TaskKey& key) {
  return absl::NotFoundError(absl::StrCat("sandbox ", key.id, " does not run in namespace ", key.ns));
}

}  // namespace

struct Controller::Creation {
  InstancePtr instance;
  NewSandbox what;
  Done done;
  sys::PidFd process;
};

Controller::Controller(Parts parts, tasks::ManagerOptions options)
    : parts_(parts),
      options_(std::move(options)),
      bundles_(options_.state, options_.root, tasks::Bundles::Kind::kSandboxes) {}

absl::StatusOr<std::unique_ptr<Controller>> Controller::Create(Parts parts, tasks::ManagerOptions options) {
  std::unique_ptr<Controller> controller(new Controller(parts, std::move(options)));
  GANTRY_RETURN_IF_ERROR(controller->bundles_.Prepare());
  GANTRY_RETURN_IF_ERROR(controller->Load());
  return controller;
}

Controller::~Controller() {
  stopping_ = true;
  for (const auto& [key, instance] : instances_) {
    Disconnect(instance);
    instance->when_gone = nullptr;  // it holds its own instance
  }
}

void Controller::Stop() {
  stopping_ = true;
  for (const auto& [key, instance] : instances_) {
    for (const auto& [number, waiter] : std::exchange(instance->waiters, {})) {
      waiter(absl::UnavailableError("the daemon is stopping"));
    }
  }
}

Controller::InstancePtr Controller::Find(const tasks::TaskKey& key) const {
  const auto it = instances_.find(key);
  return it == instances_.end() ? nullptr : it->second;
}

absl::StatusOr<Controller::InstancePtr> Controller::FindLive(const tasks::TaskKey& key) const {
  InstancePtr instance = Find(key);
  const bool there =
      instance != nullptr && (instance->phase == Phase::kLive || instance->phase == Phase::kLoading);
  if (!there || instance->client == nullptr) return NoSandbox(key);
  return instance;
}

absl::StatusOr<tasks::Bootstrap> Controller::Endpoint(const tasks::TaskKey& key) const {
  GANTRY_ASSIGN_OR_RETURN(const InstancePtr instance, FindLive(key));
  return instance->bootstrap;
}

void Controller::CallShim(const InstancePtr& instance, absl::string_view method, std::string payload,
                          absl::Duration timeout, CallCallback done) {
  instance->client->Call(kService, method, std::move(payload), timeout,
                         [instance, done = std::move(done)](absl::StatusOr<std::string> answer) {
                           const bool gone = instance->client == nullptr || instance->client->closed();
                           if (!answer.ok() && gone && absl::IsUnavailable(answer.status())) {
                             answer = NoSandbox(instance->key);
                           }
                           done(std::move(answer));
                         });
}

void Controller::Call(const tasks::TaskKey& key, absl::string_view method, std::string payload,
                      absl::Duration timeout, CallCallback done) {
  absl::StatusOr<InstancePtr> instance = FindLive(key);
  if (!instance.ok()) return done(instance.status());
  CallShim(*instance, method, std::move(payload), timeout, std::move(done));
}

// ---- create ----------------------------------------------------------------------------------------------

void Controller::CreateSandbox(const tasks::TaskKey& key, NewSandbox what, Done done) {
  const InstancePtr existing = Find(key);
  if (existing != nullptr && (existing->phase == Phase::kEnding || existing->phase == Phase::kLoading)) {
    existing->when_settled.push_back(
        [this, key, what = std::move(what), done = std::move(done)] { CreateSandbox(key, what, done); });
    return;
  }
  if (existing != nullptr) {
    return done(absl::AlreadyExistsError(absl::StrCat("sandbox ", key.id, " already running")));
  }
  auto creation = std::make_shared<Creation>();
  creation->instance = std::make_shared<Instance>(key);
  creation->what = std::move(what);
  creation->done = std::move(done);
  instances_.emplace(key, creation->instance);
  parts_.records->Submit([this, creation]() mutable {
    absl::Status prepared = Prepare(creation.get());
    parts_.loop->Post([this, creation = std::move(creation), prepared = std::move(prepared)] {
      Launch(creation, prepared);
    });
  });
}

absl::Status Controller::Prepare(Creation* creation) {
  const InstancePtr& instance = creation->instance;
  const tasks::TaskKey& key = instance->key;
  const std::string& runtime = creation->what.runtime;
  GANTRY_ASSIGN_OR_RETURN(const std::string program, tasks::ShimProgram(runtime, options_.runtime.runtimes));
  const std::string& own = options_.host.daemon_binary;
  absl::StatusOr<std::string> binary =
      tasks::FindProgram(program, options_.path, own.substr(0, own.rfind('/')));
  if (!binary.ok()) return sys::Annotate(binary.status(), absl::StrCat("runtime \"", runtime, "\""));
  instance->binary = *binary;
  const bool ours = tasks::IsOurShim(instance->binary);
  GANTRY_RETURN_IF_ERROR(bundles_.Create(key, creation->what.spec, !ours));
  // Until the client is told: a daemon that finds it takes the sandbox down.
  if (ours) GANTRY_RETURN_IF_ERROR(bundles_.MarkCreating(key));
  GANTRY_RETURN_IF_ERROR(bundles_.WriteBinary(key, instance->binary));
  creation->what.request.set_sandbox_id(key.id);
  creation->what.request.set_bundle_path(bundles_.Path(key));
  if (!ours) {
    GANTRY_ASSIGN_OR_RETURN(instance->log, tasks::MakeShimLog(bundles_.Path(key)));
    return absl::OkStatus();
  }
  GANTRY_ASSIGN_OR_RETURN(instance->socket_path, bundles_.SocketPath(key, options_.host.grpc_address));
  instance->bootstrap = {3, absl::StrCat("unix://", instance->socket_path), "ttrpc"};
  GANTRY_RETURN_IF_ERROR(bundles_.WriteBootstrap(key, instance->bootstrap));
  GANTRY_ASSIGN_OR_RETURN(creation->process,
                          tasks::SpawnServing(options_.host, instance->binary, key, bundles_.Path(key),
                                              instance->socket_path, /*init_fd=*/-1));
  return absl::OkStatus();
}

void Controller::Launch(const std::shared_ptr<Creation>& creation, absl::Status prepared) {
  const InstancePtr& instance = creation->instance;
  Watch(instance, std::move(creation->process));
  if (!prepared.ok()) return FailCreate(creation, prepared);
  if (instance->socket_path.empty()) {
    ReadLog(instance);
    return AskStart(creation);
  }
  if (absl::Status status = Connect(instance); !status.ok()) return FailCreate(creation, status);
  SendCreate(creation);
}

sys::SpawnOptions Controller::SpawnFor(const Instance& instance, tasks::ShimAction action) const {
  return tasks::ShimSpawn(options_.host, instance.binary, instance.key, bundles_.Path(instance.key), action);
}

void Controller::AskStart(const std::shared_ptr<Creation>& creation) {
  const google::protobuf::Any& options = creation->what.runtime_options;
  tasks::RunShimCommand(
      parts_.loop, SpawnFor(*creation->instance, tasks::ShimAction::kStart),
      options.type_url().empty() ? "" : options.SerializeAsString(), kStartTimeout,
      [this, creation](absl::StatusOr<std::string> answer) {
        const InstancePtr& instance = creation->instance;
        absl::StatusOr<tasks::Bootstrap> bootstrap =
            answer.ok() ? tasks::ParseBootstrap(*answer) : absl::StatusOr<tasks::Bootstrap>(answer.status());
        absl::Status status = bootstrap.status();
        if (status.ok()) {
          instance->bootstrap = *bootstrap;
          status = bundles_.WriteBootstrap(instance->key, instance->bootstrap);
        }
        if (status.ok()) status = Connect(instance);
        if (!status.ok()) {
          return FailCreate(creation,
                            sys::Annotate(status, absl::StrCat("starting the shim ", instance->binary)));
        }
        SendCreate(creation);
      });
}

absl::Status Controller::Connect(const InstancePtr& instance) {
  GANTRY_ASSIGN_OR_RETURN(instance->client, ttrpc::Client::Connect(parts_.loop, instance->bootstrap.address));
  instance->client->OnClose([this, weak = std::weak_ptr<Instance>(instance)](const absl::Status&) {
    if (const InstancePtr instance = weak.lock()) OnShimGone(instance);
  });
  return absl::OkStatus();
}

void Controller::Watch(const InstancePtr& instance, sys::PidFd process) {
  if (!process.valid()) return;
  const absl::Status status =
      parts_.loop->Add(process.fd(), EPOLLIN, [this, weak = std::weak_ptr<Instance>(instance)](uint32_t) {
        const InstancePtr instance = weak.lock();
        if (instance == nullptr) return;
        parts_.loop->Remove(instance->process.fd());
        instance->process = sys::PidFd();
        // What is left of it may still hold the connection.
        if (instance->client != nullptr) instance->client->Close();
        OnShimGone(instance);
      });
  if (status.ok()) instance->process = std::move(process);
}

void Controller::ReadLog(const InstancePtr& instance) {
  if (!instance->log.valid()) return;
  const absl::Status status =
      parts_.loop->Add(instance->log.get(), EPOLLIN, [weak = std::weak_ptr<Instance>(instance)](uint32_t) {
        if (const InstancePtr instance = weak.lock()) tasks::CopyShimLog(instance->log.get());
      });
  if (!status.ok()) {
    log::Warn("cannot read a shim's messages", {{"id", instance->key.id}, {"error", status.ToString()}});
  }
}

void Controller::SendCreate(const std::shared_ptr<Creation>& creation) {
  CallShim(creation->instance, "CreateSandbox", creation->what.request.SerializeAsString(),
           absl::InfiniteDuration(), [this, creation](const absl::StatusOr<std::string>& answer) {
             if (!answer.ok()) return FailCreate(creation, answer.status());
             const InstancePtr& instance = creation->instance;
             instance->phase = Phase::kLive;
             bundles_.ClearCreating(instance->key);
             creation->done(absl::OkStatus());
             Settle(instance);
           });
}

void Controller::FailCreate(const std::shared_ptr<Creation>& creation, const absl::Status& status) {
  const InstancePtr& instance = creation->instance;
  if (instance->phase == Phase::kEnding) return;
  instance->phase = Phase::kEnding;
  // Only a shim that existed can have left something behind.
  if (instance->bootstrap.address.empty() && !instance->log.valid()) {
    Bury(instance);
    return creation->done(status);
  }
  TakeDown(instance, [creation, status] { creation->done(status); });
}

// ---- start and wait --------------------------------------------------------------------------------------

void Controller::Start(const tasks::TaskKey& key, StartCallback done) {
  absl::StatusOr<InstancePtr> found = FindLive(key);
  if (!found.ok()) return done(found.status());
  if (std::exchange((*found)->starting, true)) {
    return done(absl::FailedPreconditionError(absl::StrCat("sandbox ", key.id, " is being started")));
  }
  shim::StartSandboxRequest request;
  request.set_sandbox_id(key.id);
  CallShim(*found, "StartSandbox", request.SerializeAsString(), absl::InfiniteDuration(),
           [this, instance = *found, done = std::move(done)](const absl::StatusOr<std::string>& answer) {
             instance->starting = false;
             shim::StartSandboxResponse response;
             absl::Status status = answer.status();
             if (status.ok() && !response.ParseFromString(*answer)) {
               status = absl::InternalError("the shim's answer to StartSandbox is damaged");
             }
             if (status.ok()) {
               instance->started = true;
               bundles_.MarkStarted(instance->key);
               containerd::events::SandboxStart event;
               event.set_sandbox_id(instance->key.id);
               const absl::Status told =
                   parts_.publisher->Publish(instance->key.ns, "/sandboxes/start", event);
               if (!told.ok()) log::Warn("cannot publish", {{"error", told.ToString()}});
               AwaitExit(instance);
               return done(std::move(response));
             }
             // What runs is no failed start.
             if (instance->started || instance->phase != Phase::kLive) return done(status);
             instance->phase = Phase::kEnding;
             TakeDown(instance, [done, status] { done(status); });
           });
}

uint64_t Controller::Wait(const tasks::TaskKey& key, WaitCallback done) {
  const uint64_t waiter = next_waiter_++;
  absl::StatusOr<InstancePtr> instance = FindLive(key);
  if (!instance.ok() || stopping_) {
    done(instance.ok() ? absl::UnavailableError("the daemon is stopping") : instance.status());
    return waiter;
  }
  (*instance)->waiters.emplace(waiter, std::move(done));
  AwaitExit(*instance);
  return waiter;
}

void Controller::CancelWait(const tasks::TaskKey& key, uint64_t waiter) {
  if (const InstancePtr instance = Find(key)) instance->waiters.erase(waiter);
}

}  // namespace gantry::sandbox
