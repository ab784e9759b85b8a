#include "daemon/tasks/manager.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "api/any/any.h"
#include "api/proto/containerd/events/task.pb.h"
#include "runtime/sys/exit_info.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry::tasks {
namespace {

absl::Status NoTask(const TaskKey& key) {
  return absl::NotFoundError(absl::StrCat("no task ", key.id, " in namespace ", key.ns));
}

}  // namespace

Manager::Manager(Parts parts, ManagerOptions options)
    : parts_(std::move(parts)),
      options_(std::move(options)),
      bundles_(options_.state, options_.root),
      exits_are_kept_(sys::KernelKeepsExitInfo()) {}

absl::StatusOr<std::unique_ptr<Manager>> Manager::Create(Parts parts, ManagerOptions options) {
  std::unique_ptr<Manager> manager(new Manager(std::move(parts), std::move(options)));
  GANTRY_RETURN_IF_ERROR(manager->bundles_.Prepare());
  GANTRY_RETURN_IF_ERROR(manager->Load());
  return manager;
}

Manager::~Manager() {
  stopping_ = true;
  const auto release = [this](const TaskPtr& task) {
    Disconnect(task);
    task->when_shim_gone = nullptr;  // it holds its own task
  };
  for (const auto& [key, task] : tasks_) release(task);
  for (const TaskPtr& task : departing_) release(task);
}

Manager::TaskPtr Manager::Find(const TaskKey& key) const {
  const auto it = tasks_.find(key);
  return it == tasks_.end() ? nullptr : it->second;
}

absl::StatusOr<Manager::TaskPtr> Manager::FindLive(const TaskKey& key) const {
  TaskPtr task = Find(key);
  const bool there = task != nullptr && (task->phase == Phase::kLive || task->phase == Phase::kLoading);
  if (!there || task->client == nullptr) return NoTask(key);
  return task;
}

void Manager::Settle(const TaskPtr& task) {
  for (std::function<void()>& callback : std::exchange(task->when_settled, {}))
    parts_.loop->Post(std::move(callback));
}

void Manager::CallShim(const TaskPtr& task, absl::string_view method, std::string payload,
                       absl::Duration timeout, CallCallback done) {
  task->client->Call(TaskService(task->bootstrap.version), method, std::move(payload), timeout,
                     [task, done = std::move(done)](absl::StatusOr<std::string> answer) {
                       const bool gone = task->client == nullptr || task->client->closed();
                       if (!answer.ok() && gone && absl::IsUnavailable(answer.status())) {
                         answer = absl::NotFoundError(absl::StrCat(
                             "the shim of task ", task->key.id, " has ended: ", answer.status().message()));
                       }
                       done(std::move(answer));
                     });
}

void Manager::Call(const TaskKey& key, absl::string_view method, std::string payload, absl::Duration timeout,
                   CallCallback done) {
  absl::StatusOr<TaskPtr> task = FindLive(key);
  if (!task.ok()) {
    done(task.status());
    return;
  }
  CallShim(*task, method, std::move(payload), timeout, std::move(done));
}

std::vector<TaskKey> Manager::List(absl::string_view ns) const {
  std::vector<TaskKey> keys;
  for (auto it = tasks_.lower_bound({std::string(ns), ""}); it != tasks_.end() && it->first.ns == ns; ++it) {
    if (FindLive(it->first).ok()) keys.push_back(it->first);
  }
  return keys;
}

uint64_t Manager::Wait(const TaskKey& key, const std::string& exec_id, WaitCallback done) {
  const uint64_t waiter = next_waiter_++;
  absl::StatusOr<TaskPtr> task = FindLive(key);
  if (!task.ok()) {
    done(task.status());
    return waiter;
  }
  if (stopping_) {
    done(absl::UnavailableError("the daemon is stopping"));
    return waiter;
  }
  (*task)->waits[exec_id].waiters.emplace(waiter, std::move(done));
  AskWait(*task, exec_id);
  return waiter;
}

void Manager::AskWait(const TaskPtr& task, const std::string& exec_id) {
  WaitGroup& group = task->waits[exec_id];
  if (group.asked) return;
  group.asked = true;
  shim::WaitRequest request;
  request.set_id(task->key.id);
  request.set_exec_id(exec_id);
  CallShim(task, "Wait", request.SerializeAsString(), absl::InfiniteDuration(),
           [this, task, exec_id](absl::StatusOr<std::string> answer) {
             const auto it = task->waits.find(exec_id);
             if (it == task->waits.end()) return;
             it->second.asked = false;
             shim::WaitResponse response;
             if (answer.ok() && response.ParseFromString(*answer)) {
               AnswerWaits(task, exec_id, std::move(response));
             } else if (task->end.has_value()) {
               AnswerWaits(task, exec_id, *task->end);
             } else if (task->client != nullptr && !task->client->closed()) {
               AnswerWaits(task, exec_id,
                           answer.ok() ? absl::InternalError("the shim's answer to Wait is damaged")
                                       : answer.status());
             }
             // Else the shim is gone: they are answered when it is known how the task ended.
           });
}

void Manager::AnswerWaits(const TaskPtr& task, const std::string& exec_id,
                          absl::StatusOr<shim::WaitResponse> answer) {
  const auto it = task->waits.find(exec_id);
  if (it == task->waits.end()) return;
  const std::map<uint64_t, WaitCallback> waiters = std::move(it->second.waiters);
  task->waits.erase(it);
  for (const auto& [number, callback] : waiters) callback(answer);
}

void Manager::AnswerAllWaits(const TaskPtr& task, const absl::StatusOr<shim::WaitResponse>& answer) {
  while (!task->waits.empty()) AnswerWaits(task, std::string(task->waits.begin()->first), answer);
}

void Manager::CancelWait(const TaskKey& key, const std::string& exec_id, uint64_t waiter) {
  const TaskPtr task = Find(key);
  if (task == nullptr) return;
  const auto it = task->waits.find(exec_id);
  if (it != task->waits.end()) it->second.waiters.erase(waiter);
}

absl::Status Manager::Forward(containerd::types::Envelope envelope) {
  if (envelope.topic() == "/tasks/exit") {
    absl::StatusOr<containerd::events::TaskExit> exit =
        any::Unpack<containerd::events::TaskExit>(envelope.event());
    if (exit.ok() && exit->id() == exit->container_id()) {
      const TaskPtr task = Find({envelope.namespace_(), exit->container_id()});
      // Not the late news of one that had the id before.
      if (task != nullptr &&
          (task->pid == exit->pid() || (task->pid == 0 && task->phase == Phase::kLoading))) {
        // A shim sends again what it could not know to have arrived, also to the next daemon.
        if (task->exit_published) return absl::OkStatus();
        const absl::Status told = parts_.exchange->Forward(std::move(envelope));
        task->exit_published = told.ok();
        if (told.ok()) bundles_.MarkExitTold(task->key);
        return told;
      }
    }
  }
  return parts_.exchange->Forward(std::move(envelope));
}

void Manager::Stop() {
  stopping_ = true;
  for (const auto& [key, task] : tasks_)
    AnswerAllWaits(task, absl::UnavailableError("the daemon is stopping"));
}

}  // namespace gantry::tasks
