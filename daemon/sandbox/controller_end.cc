// How a sandbox ends: stopped, shut down by its client, or left behind by a shim that died.
#include <signal.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "api/proto/containerd/events/sandbox.pb.h"
#include "api/proto/containerd/runtime/task/v3/shim.pb.h"
#include "daemon/sandbox/controller.h"
#include "daemon/tasks/shim_command.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry::sandbox {
namespace {

constexpr uint32_t kKilled = 128 + SIGKILL;

google::protobuf::Timestamp Now() {
  const int64_t nanos = absl::ToUnixNanos(sys::WallNow());
  google::protobuf::Timestamp timestamp;
  timestamp.set_seconds(nanos / 1'000'000'000);
  timestamp.set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  return timestamp;
}

}  // namespace

// One call to the shim serves all who wait, and the event.
void Controller::AwaitExit(const InstancePtr& instance) {
  if (std::exchange(instance->awaited, true)) return;
  shim::WaitSandboxRequest request;
  request.set_sandbox_id(instance->key.id);
  CallShim(instance, "WaitSandbox", request.SerializeAsString(), absl::InfiniteDuration(),
           [this, instance](const absl::StatusOr<std::string>& answer) {
             instance->awaited = false;
             shim::WaitSandboxResponse exit;
             if (answer.ok() && exit.ParseFromString(*answer)) return OnExit(instance, exit);
             // Else its shim is gone, and what its `delete` says counts; or it knows no such sandbox.
             if (instance->client == nullptr || instance->client->closed()) return;
             for (const auto& [number, waiter] : std::exchange(instance->waiters, {})) {
               waiter(answer.ok() ? absl::InternalError("the shim's answer to WaitSandbox is damaged")
                                  : answer.status());
             }
           });
}

void Controller::OnExit(const InstancePtr& instance, const shim::WaitSandboxResponse& exit) {
  if (instance->started && !std::exchange(instance->exit_told, true)) {
    containerd::events::SandboxExit event;
    event.set_sandbox_id(instance->key.id);
    event.set_exit_status(exit.exit_status());
    *event.mutable_exited_at() = exit.exited_at();
    const absl::Status told = parts_.publisher->Publish(instance->key.ns, "/sandboxes/exit", event);
    if (!told.ok()) log::Warn("cannot publish", {{"error", told.ToString()}});
    bundles_.MarkExitTold(instance->key);
  }
  for (const auto& [number, waiter] : std::exchange(instance->waiters, {})) waiter(exit);
}

void Controller::OnShimGone(const InstancePtr& instance) {
  if (stopping_) return;
  if (instance->when_gone) {
    if (instance->end_timer != 0) parts_.loop->Cancel(std::exchange(instance->end_timer, 0));
    return std::exchange(instance->when_gone, nullptr)();
  }
  // While it is created, the failed call takes care.
  if (instance->phase != Phase::kLive && instance->phase != Phase::kLoading) return;
  log::Warn("the shim of a sandbox is gone: cleaning up after it",
            {{"ns", instance->key.ns}, {"id", instance->key.id}});
  instance->phase = Phase::kEnding;
  Clean(instance, [] {});
}

// The shim is gone: removes what it left.
void Controller::Clean(const InstancePtr& instance, std::function<void()> done) {
  tasks::RunShimCommand(parts_.loop, SpawnFor(*instance, tasks::ShimAction::kDelete), "",
                        options_.timeouts.shim_cleanup,
                        [this, instance, done = std::move(done)](const absl::StatusOr<std::string>& output) {
                          containerd::task::v3::DeleteResponse end;
                          if (!output.ok() || !end.ParseFromString(*output)) {
                            log::Error("the shim's delete failed",
                                       {{"id", instance->key.id}, {"error", output.status().ToString()}});
                            end.Clear();
                          }
                          shim::WaitSandboxResponse exit;
                          exit.set_exit_status(end.has_exited_at() ? end.exit_status() : kKilled);
                          *exit.mutable_exited_at() = end.has_exited_at() ? end.exited_at() : Now();
                          OnExit(instance, exit);
                          Bury(instance);
                          done();
                        });
}

// Calls `done` when the shim, which was asked to end, has. One that does not is killed.
void Controller::EndShim(const InstancePtr& instance, std::function<void()> done) {
  if (instance->client == nullptr || instance->client->closed()) return parts_.loop->Post(std::move(done));
  instance->when_gone = std::move(done);
  instance->end_timer = parts_.loop->RunAfter(options_.timeouts.shim_shutdown, [this, instance] {
    instance->end_timer = 0;
    log::Warn("the shim of a sandbox does not end", {{"ns", instance->key.ns}, {"id", instance->key.id}});
    if (instance->process.valid() && instance->process.Signal(SIGKILL).ok()) return;
    if (instance->when_gone) std::exchange(instance->when_gone, nullptr)();
  });
}

// Of a sandbox that failed, or whose client never heard of it.
void Controller::TakeDown(const InstancePtr& instance, std::function<void()> done) {
  const bool connected = instance->client != nullptr && !instance->client->closed();
  EndShim(instance, [this, instance, done = std::move(done)] { Clean(instance, done); });
  if (!connected) return;
  const auto ignore = [](const absl::StatusOr<std::string>&) {};
  shim::ShutdownSandboxRequest request;
  request.set_sandbox_id(instance->key.id);
  CallShim(instance, "ShutdownSandbox", request.SerializeAsString(), options_.timeouts.shim_shutdown, ignore);
  // For a shim that has no such sandbox.
  containerd::task::v3::ShutdownRequest end;
  end.set_id(instance->key.id);
  end.set_now(true);
  instance->client->Call(tasks::TaskService(instance->bootstrap.version), "Shutdown", end.SerializeAsString(),
                         options_.timeouts.shim_shutdown, ignore);
}

void Controller::Shutdown(const tasks::TaskKey& key, Done done) {
  absl::StatusOr<InstancePtr> found = FindLive(key);
  if (!found.ok()) return done(found.status());
  shim::ShutdownSandboxRequest request;
  request.set_sandbox_id(key.id);
  CallShim(*found, "ShutdownSandbox", request.SerializeAsString(), absl::InfiniteDuration(),
           [this, instance = *found, done = std::move(done)](const absl::StatusOr<std::string>& answer) {
             if (!answer.ok()) {
               return done(sys::Annotate(answer.status(), "failed to shutdown sandbox"));
             }
             // Its shim may have ended already: then it is being cleaned up after.
             if (instance->phase == Phase::kEnding) {
               instance->when_settled.push_back([done] { done(absl::OkStatus()); });
               return;
             }
             instance->phase = Phase::kEnding;
             EndShim(instance, [this, instance, done] {
               // Most often this was told when it was stopped.
               shim::WaitSandboxResponse exit;
               *exit.mutable_exited_at() = Now();
               OnExit(instance, exit);
               Bury(instance);
               done(absl::OkStatus());
             });
           });
}

void Controller::Disconnect(const InstancePtr& instance) {
  if (instance->end_timer != 0) parts_.loop->Cancel(std::exchange(instance->end_timer, 0));
  if (instance->log.valid()) {
    parts_.loop->Remove(instance->log.get());
    instance->log.reset();
  }
  if (instance->process.valid()) {
    parts_.loop->Remove(instance->process.fd());
    instance->process = sys::PidFd();
  }
  instance->client.reset();
}

void Controller::Bury(const InstancePtr& instance) {
  Disconnect(instance);
  if (!instance->socket_path.empty()) unlink(instance->socket_path.c_str());
  absl::StatusOr<std::string> discarded = bundles_.Discard(instance->key);
  if (!discarded.ok()) {
    log::Error("cannot remove a bundle",
               {{"id", instance->key.id}, {"error", discarded.status().ToString()}});
  } else if (!discarded->empty()) {
    parts_.bulk->Submit([this, path = *discarded] {
      const absl::Status status = bundles_.Destroy(path);
      if (!status.ok()) log::Error("cannot remove a bundle", {{"path", path}, {"error", status.ToString()}});
    });
  }
  const auto it = instances_.find(instance->key);
  if (it != instances_.end() && it->second == instance) instances_.erase(it);
  Settle(instance);
}

void Controller::Settle(const InstancePtr& instance) {
  for (std::function<void()>& callback : std::exchange(instance->when_settled, {})) {
    parts_.loop->Post(std::move(callback));
  }
}

}  // namespace gantry::sandbox
