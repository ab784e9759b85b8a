// Finding the sandboxes of a former daemon.
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "daemon/sandbox/controller.h"
#include "daemon/server/identifier.h"
#include "daemon/tasks/runtime_name.h"
#include "daemon/tasks/unfinished.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry::sandbox {

absl::Status Controller::Load() {
  GANTRY_ASSIGN_OR_RETURN(const std::vector<tasks::TaskKey> keys, bundles_.List());
  for (const tasks::TaskKey& key : keys) {
    if (server::ValidateIdentifier("namespace", key.ns).ok() &&
        server::ValidateIdentifier("id", key.id).ok()) {
      LoadOne(key);
    } else {
      log::Warn("not a bundle: left alone", {{"path", bundles_.Path(key)}});
    }
  }
  return absl::OkStatus();
}

void Controller::LoadOne(const tasks::TaskKey& key) {
  auto instance = std::make_shared<Instance>(key);
  instance->phase = Phase::kLoading;
  instance->exit_told = bundles_.IsExitTold(key);
  instance->started = bundles_.IsStarted(key);
  instances_.emplace(key, instance);
  const absl::StatusOr<std::string> binary = bundles_.ReadBinary(key);
  if (!binary.ok()) {
    log::Warn("removing a bundle for which no shim was started", {{"path", bundles_.Path(key)}});
    instance->phase = Phase::kEnding;
    return Bury(instance);
  }
  instance->binary = *binary;
  absl::StatusOr<tasks::Bootstrap> bootstrap = bundles_.ReadBootstrap(key);
  absl::Status status = bootstrap.status();
  if (status.ok()) {
    instance->bootstrap = *bootstrap;
    absl::string_view path = bootstrap->address;
    if (tasks::IsOurShim(instance->binary) && absl::ConsumePrefix(&path, "unix://")) {
      instance->socket_path = std::string(path);
    }
    status = Connect(instance);
  }
  if (bundles_.IsCreating(key)) {
    log::Warn("taking down a sandbox whose creation was cut off", {{"ns", key.ns}, {"id", key.id}});
    instance->phase = Phase::kEnding;
    if (tasks::IsOurShim(instance->binary)) return TakeDown(instance, [] {});
    parts_.bulk->Submit([this, instance]() mutable {
      tasks::EndUnfinished(
          {instance->key, bundles_.Path(instance->key), instance->binary, options_.host.grpc_address},
          options_.timeouts.shim_cleanup);
      parts_.loop->Post([this, instance = std::move(instance)] { Clean(instance, [] {}); });
    });
    return;
  }
  if (!status.ok()) {
    log::Info("a sandbox has no shim",
              {{"ns", key.ns}, {"id", key.id}, {"reason", std::string(status.message())}});
    instance->phase = Phase::kEnding;
    return Clean(instance, [] {});
  }
  shim::SandboxStatusRequest request;
  request.set_sandbox_id(key.id);
  CallShim(instance, "SandboxStatus", request.SerializeAsString(), options_.timeouts.shim_load,
           [this, instance](const absl::StatusOr<std::string>& answer) { OnLoaded(instance, answer); });
}

void Controller::OnLoaded(const InstancePtr& instance, const absl::StatusOr<std::string>& answer) {
  if (instance->phase != Phase::kLoading || instance->client == nullptr || instance->client->closed()) return;
  if (absl::IsNotFound(answer.status())) {
    log::Warn("ending a shim without a sandbox", {{"ns", instance->key.ns}, {"id", instance->key.id}});
    instance->phase = Phase::kEnding;
    return TakeDown(instance, [] {});
  }
  shim::SandboxStatusResponse status;
  if (answer.ok() && status.ParseFromString(*answer)) {
    log::Info("found a sandbox again", {{"ns", instance->key.ns}, {"id", instance->key.id}});
    // Its start may be all that the former daemon managed to do.
    if (status.state() == "SANDBOX_READY") instance->started = true;
  } else {
    log::Warn("the shim of a sandbox does not answer; it is kept",
              {{"id", instance->key.id}, {"error", answer.status().ToString()}});
  }
  instance->phase = Phase::kLive;
  // Also of one that has ended: that is told if no daemon has told it.
  if (instance->started) AwaitExit(instance);
  Settle(instance);
}

}  // namespace gantry::sandbox
