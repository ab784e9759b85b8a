#include "daemon/tasks/restart_monitor.h"

#include <signal.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/sys/log.h"

namespace gantry::tasks {
namespace {

TaskIs FromState(const shim::StateResponse& state) {
  switch (state.status()) {
    case containerd::v1::types::RUNNING:
      return TaskIs::kRunning;
    case containerd::v1::types::PAUSED:
    case containerd::v1::types::PAUSING:
      return TaskIs::kPaused;
    case containerd::v1::types::STOPPED:
      return TaskIs::kStopped;
    default:
      return TaskIs::kCreated;
  }
}

}  // namespace

RestartMonitor::RestartMonitor(Parts parts, absl::Duration interval)
    : parts_(std::move(parts)), interval_(interval) {
  subscription_ = parts_.exchange->Subscribe(
      [](const events::Envelope& envelope) {
        return envelope.topic() == "/containers/create" || envelope.topic() == "/containers/update";
      },
      [this](const std::shared_ptr<const events::Envelope>&) {
        parts_.loop->Post([this] { Arm(); });
        return true;
      });
  parts_.loop->Post([this] { Look(); });
}

RestartMonitor::~RestartMonitor() {
  parts_.exchange->Unsubscribe(subscription_);
  if (timer_ != 0) parts_.loop->Cancel(timer_);
}

void RestartMonitor::Arm() {
  if (timer_ != 0) return;
  timer_ = parts_.loop->RunAfter(interval_, [this] {
    timer_ = 0;
    Look();
  });
}

void RestartMonitor::Look() {
  parts_.pool->Submit([this] {
    absl::StatusOr<std::vector<LabelledContainer>> containers = parts_.list();
    parts_.loop->Post([this, containers = std::move(containers)] {
      if (!containers.ok()) {
        log::Error("cannot look for containers to restart", {{"error", containers.status().ToString()}});
        return Arm();
      }
      for (const LabelledContainer& container : *containers) Consider(container);
      if (!containers->empty()) Arm();
    });
  });
}

void RestartMonitor::Consider(const LabelledContainer& container) {
  if (!busy_.insert(container.key).second) return;
  shim::StateRequest request;
  request.set_id(container.key.id);
  parts_.manager->Call(container.key, "State", request.SerializeAsString(),
                       parts_.manager->timeouts().task_state,
                       [this, container](const absl::StatusOr<std::string>& answer) {
                         shim::StateResponse state;
                         const bool absent = absl::IsNotFound(answer.status());
                         if (!absent && (!answer.ok() || !state.ParseFromString(*answer))) {
                           return Done(container.key, answer.status());
                         }
                         const TaskIs is = absent ? TaskIs::kAbsent : FromState(state);
                         Apply(container, DecideRestart(container.labels, is, state.exit_status()), !absent);
                       });
}

void RestartMonitor::Apply(const LabelledContainer& container, RestartAction action, bool has_task) {
  switch (action) {
    case RestartAction::kNone:
      return Done(container.key, absl::OkStatus());
    case RestartAction::kStop:
      return Stop(container, [this, key = container.key] { Done(key, absl::OkStatus()); });
    case RestartAction::kStart:
      if (!has_task) return Start(container);
      return Stop(container, [this, container] { Start(container); });
  }
}

// Kills what may still run, and deletes the task. Each step may find that it is over already.
void RestartMonitor::Stop(const LabelledContainer& container, std::function<void()> done) {
  shim::KillRequest kill;
  kill.set_id(container.key.id);
  kill.set_signal(SIGKILL);
  kill.set_all(true);
  parts_.manager->Call(
      container.key, "Kill", kill.SerializeAsString(), parts_.manager->timeouts().shim_cleanup,
      [this, key = container.key, done = std::move(done)](const absl::StatusOr<std::string>& killed) {
        auto remove = [this, key, done] {
          parts_.manager->Delete(key, [this, key, done](const absl::StatusOr<shim::DeleteResponse>& deleted) {
            if (!deleted.ok() && !absl::IsNotFound(deleted.status())) return Done(key, deleted.status());
            done();
          });
        };
        if (!killed.ok()) return remove();  // it has ended before
        parts_.manager->Wait(key, "", [remove](const absl::StatusOr<shim::WaitResponse>&) { remove(); });
      });
}

void RestartMonitor::Start(const LabelledContainer& container) {
  log::Info("starting a container again", {{"ns", container.key.ns}, {"id", container.key.id}});
  parts_.pool->Submit([this, container] {
    absl::StatusOr<shim::CreateTaskRequest> request =
        parts_.prepare(container, RestartCountOf(container.labels) + 1);
    parts_.loop->Post([this, key = container.key, request = std::move(request)] {
      if (!request.ok()) return Done(key, request.status());
      parts_.manager->CreateTask(key, {"", *request, {}}, [this, key](const absl::StatusOr<uint32_t>& pid) {
        if (!pid.ok()) return Done(key, pid.status());
        shim::StartRequest start;
        start.set_id(key.id);
        parts_.manager->Call(
            key, "Start", start.SerializeAsString(), absl::InfiniteDuration(),
            [this, key](const absl::StatusOr<std::string>& answer) { Done(key, answer.status()); });
      });
    });
  });
}

void RestartMonitor::Done(const TaskKey& key, const absl::Status& status) {
  busy_.erase(key);
  if (!status.ok()) {
    log::Error("cannot bring a container to the state that its labels ask for",
               {{"ns", key.ns}, {"id", key.id}, {"error", status.ToString()}});
  }
}

}  // namespace gantry::tasks
