#include "daemon/tasks/manager.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "api/any/any.h"
#include "api/proto/containerd/events/task.pb.h"
#include "daemon/tasks/runtime_name.h"
#include "runtime/sys/exit_info.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry::tasks {
namespace {

absl::Status NoTask(const TaskKey& key) {
  return absl::NotFoundError(absl::StrCat("no task ", key.id, " in namespace ", key.ns));
}

bool IsThere(const Task& task) { return task.phase == Phase::kLive || task.phase == Phase::kLoading; }
bool HasConnection(const Task& task) { return task.client != nullptr && !task.client->closed(); }
// A call that is sent now is answered by the shim that has the task.
bool IsServed(const Task& task) { return task.phase == Phase::kLive && HasConnection(task); }

// Of an exec; no other exit of the task has the same.
std::string NameOf(const containerd::events::TaskExit& exit) {
  return absl::StrCat(exit.id(), " ", exit.pid(), " ", exit.exited_at().seconds(), ".",
                      exit.exited_at().nanos());
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
    task->when_shim_gone = nullptr;  // they hold their own task
    task->when_known.clear();
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
  if (task == nullptr || !IsThere(*task)) return NoTask(key);
  return task;
}

void Manager::Settle(const TaskPtr& task) {
  for (std::function<void()>& callback : std::exchange(task->when_settled, {}))
    parts_.loop->Post(std::move(callback));
}

void Manager::WhenKnown(const TaskPtr& task, absl::Duration timeout, KnownCallback next) {
  if (stopping_ || IsServed(*task) || !IsThere(*task)) {
    parts_.loop->Post([this, next = std::move(next)] {
      next(stopping_ ? absl::UnavailableError("the daemon is stopping") : absl::OkStatus());
    });
    return;
  }
  struct Waiting {
    KnownCallback next;
    sys::EventLoop::TimerId timer = 0;
  };
  auto waiting = std::make_shared<Waiting>();
  waiting->next = std::move(next);
  if (timeout != absl::InfiniteDuration()) {
    waiting->timer = parts_.loop->RunAfter(timeout, [waiting, id = task->key.id] {
      waiting->timer = 0;
      if (KnownCallback next = std::exchange(waiting->next, nullptr)) {
        next(absl::DeadlineExceededError(absl::StrCat("the shim of task ", id, " does not answer")));
      }
    });
  }
  task->when_known.push_back([this, waiting] {
    if (waiting->timer != 0) parts_.loop->Cancel(std::exchange(waiting->timer, 0));
    if (KnownCallback next = std::exchange(waiting->next, nullptr)) {
      next(stopping_ ? absl::UnavailableError("the daemon is stopping") : absl::OkStatus());
    }
  });
}

void Manager::Known(const TaskPtr& task) {
  for (std::function<void()>& callback : std::exchange(task->when_known, {}))
    parts_.loop->Post(std::move(callback));
}

void Manager::CallShim(const TaskPtr& task, absl::string_view method, std::string payload,
                       absl::Duration timeout, CallCallback done) {
  task->client->Call(
      TaskService(task->bootstrap.version), method, std::move(payload), timeout,
      [done = std::move(done)](absl::StatusOr<std::string> answer) { done(std::move(answer)); });
}

void Manager::CallTask(const TaskPtr& task, std::shared_ptr<const Request> request, CallCallback done) {
  if (!IsThere(*task)) return done(NoTask(task->key));
  if (!IsServed(*task)) {
    return WhenKnown(task, request->timeout,
                     [this, task, request, done = std::move(done)](const absl::Status& waited) {
                       waited.ok() ? CallTask(task, request, done) : done(waited);
                     });
  }
  CallShim(task, request->method, request->payload, request->timeout,
           [this, task, request, done = std::move(done)](absl::StatusOr<std::string> answer) {
             const bool cut_off = absl::IsUnavailable(answer.status()) && !HasConnection(*task);
             if (!cut_off) return done(std::move(answer));
             WhenKnown(
                 task, request->timeout,
                 [this, task, request, done = std::move(done)](const absl::Status& waited) {
                   if (!waited.ok()) return done(waited);
                   if (!IsThere(*task) || request->repeatable()) return CallTask(task, request, done);
                   done(absl::UnavailableError(absl::StrCat(
                       "the shim of task ", task->key.id, " was lost during the call of ", request->method,
                       ", and the task goes on: look at its state, and call again if it was not done")));
                 });
           });
}

void Manager::Call(const TaskKey& key, absl::string_view method, std::string payload, absl::Duration timeout,
                   CallCallback done) {
  absl::StatusOr<TaskPtr> task = FindLive(key);
  if (!task.ok()) {
    done(task.status());
    return;
  }
  CallTask(*task, std::make_shared<const Request>(Request{std::string(method), std::move(payload), timeout}),
           std::move(done));
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
  if (IsServed(**task)) AskWait(*task, exec_id);  // else they are asked for when it is
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
    if (exit.ok()) return ForwardExit(std::move(envelope), *exit);
  }
  if (envelope.topic() == "/tasks/delete") {
    absl::StatusOr<containerd::events::TaskDelete> deleted =
        any::Unpack<containerd::events::TaskDelete>(envelope.event());
    const TaskPtr task = deleted.ok() ? Find({envelope.namespace_(), deleted->container_id()}) : nullptr;
    if (task != nullptr && task->pid == deleted->pid()) task->delete_published = true;
  }
  return parts_.exchange->Forward(std::move(envelope));
}

// A shim sends again what it could not know to have arrived, also to the next daemon; and one that was killed may have
// told what its successor tells again.
absl::Status Manager::ForwardExit(containerd::types::Envelope envelope,
                                  const containerd::events::TaskExit& exit) {
  const TaskPtr task = Find({envelope.namespace_(), exit.container_id()});
  if (task == nullptr) return parts_.exchange->Forward(std::move(envelope));
  if (exit.id() != exit.container_id()) {
    // Each shim sends one event at a time: what comes twice is the last one.
    const std::string name = NameOf(exit);
    if (task->exec_told == name) return absl::OkStatus();
    GANTRY_RETURN_IF_ERROR(parts_.exchange->Forward(std::move(envelope)));
    task->exec_told = name;
    bundles_.MarkExecTold(task->key, name);
    return absl::OkStatus();
  }
  // Not the late news of one that had the id before. Of ours the bundle tells the pid.
  const bool not_known_yet = task->pid == 0 && task->phase == Phase::kLoading && !IsOurShim(task->binary);
  if (task->pid != exit.pid() && !not_known_yet) return parts_.exchange->Forward(std::move(envelope));
  if (task->exit_published) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(parts_.exchange->Forward(std::move(envelope)));
  task->exit_published = true;
  bundles_.MarkExitTold(task->key);
  return absl::OkStatus();
}

void Manager::Stop() {
  stopping_ = true;
  for (const auto& [key, task] : tasks_)
    AnswerAllWaits(task, absl::UnavailableError("the daemon is stopping"));
  for (const auto& [key, task] : tasks_) Known(task);
}

}  // namespace gantry::tasks
