// How a task ends: deleted by its client, or left behind by a shim that died.
#include <signal.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "api/any/any.h"
#include "api/proto/containerd/events/task.pb.h"
#include "daemon/tasks/manager.h"
#include "daemon/tasks/runtime_name.h"
#include "daemon/tasks/shim_command.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry::tasks {
namespace {

constexpr uint32_t kKilled = 128 + SIGKILL;
// How long a process may take from the end of its connection to its own.
constexpr absl::Duration kDying = absl::Milliseconds(100);

google::protobuf::Timestamp Now() {
  const int64_t nanos = absl::ToUnixNanos(sys::WallNow());
  google::protobuf::Timestamp timestamp;
  timestamp.set_seconds(nanos / 1'000'000'000);
  timestamp.set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
  return timestamp;
}

}  // namespace

void Manager::Disconnect(const TaskPtr& task) {
  if (task->end_timer != 0) parts_.loop->Cancel(std::exchange(task->end_timer, 0));
  if (task->gone_timer != 0) parts_.loop->Cancel(std::exchange(task->gone_timer, 0));
  if (task->log.valid()) {
    parts_.loop->Remove(task->log.get());
    task->log.reset();
  }
  if (task->process.valid()) {
    parts_.loop->Remove(task->process.fd());
    task->process = sys::PidFd();
  }
  task->client.reset();
}

void Manager::OnShimGone(const TaskPtr& task) {
  // It is decided now: a second time would be about the next shim.
  if (task->gone_timer != 0) parts_.loop->Cancel(std::exchange(task->gone_timer, 0));
  if (stopping_) return;
  if (task->when_shim_gone) {
    std::function<void()> next = std::exchange(task->when_shim_gone, nullptr);
    if (task->end_timer != 0) parts_.loop->Cancel(std::exchange(task->end_timer, 0));
    next();
    return;
  }
  // While it is created, the failed call of Create takes care; while it ends, its own steps do.
  if (task->phase != Phase::kLive && task->phase != Phase::kLoading) return;
  // A dying process closes its descriptors before it counts as ended: its watch will tell.
  if (!std::exchange(task->disconnected, true) && task->process.valid()) {
    task->gone_timer = parts_.loop->RunAfter(kDying, [this, task] {
      task->gone_timer = 0;
      OnShimGone(task);
    });
    return;
  }
  if (Reconnect(task)) return;
  SucceedOrClean(task);
}

// A connection may end without its shim (a protocol error): then its tasks are alive, and it is called again.
bool Manager::Reconnect(const TaskPtr& task) {
  // From inside the old client's callback: it may be destroyed there.
  if (!Connect(task).ok()) return false;
  task->disconnected = false;
  log::Warn("connected to a shim again", {{"ns", task->key.ns}, {"id", task->key.id}});
  if (task->phase == Phase::kLoading) {
    AskState(task);
  } else {
    AskWaitsAgain(task);
    Known(task);
  }
  return true;
}

// From now on clients are told that there is no such task. Should this daemon be killed before it is cleaned up, the next
// one must not find it again.
void Manager::BeginEnd(const TaskPtr& task) {
  task->phase = Phase::kEnding;
  if (absl::Status marked = bundles_.MarkEnding(task->key); !marked.ok() && !absl::IsNotFound(marked)) {
    log::Warn("a task that clients were told is gone may come back",
              {{"ns", task->key.ns}, {"id", task->key.id}, {"reason", std::string(marked.message())}});
  }
  Known(task);
}

void Manager::CleanAfterShim(const TaskPtr& task) {
  log::Warn("a shim is gone: cleaning up after it", {{"ns", task->key.ns}, {"id", task->key.id}});
  if (task->phase != Phase::kEnding) BeginEnd(task);
  RunDelete(task, [this, task](const shim::DeleteResponse& end) {
    shim::WaitResponse answer;
    answer.set_exit_status(end.exit_status());
    *answer.mutable_exited_at() = end.exited_at();
    task->end = answer;
    PublishEnd(*task, end);
    Bury(task);
    AnswerAllWaits(task, answer);
  });
}

void Manager::RunDelete(const TaskPtr& task, std::function<void(shim::DeleteResponse)> done) {
  if (task->sandboxed && !IsOurShim(task->binary)) {
    // As containerd does: such a container is its sandbox's affair.
    parts_.loop->Post([task, done = std::move(done)] {
      shim::DeleteResponse end;
      end.set_pid(task->pid);
      end.set_exit_status(kKilled);
      *end.mutable_exited_at() = Now();
      done(end);
    });
    return;
  }
  RunShimCommand(parts_.loop, SpawnFor(*task, ShimAction::kDelete), "", options_.timeouts.shim_cleanup,
                 [task, done = std::move(done)](absl::StatusOr<std::string> output) {
                   shim::DeleteResponse end;
                   if (!output.ok() || !end.ParseFromString(*output)) {
                     log::Error(
                         "the shim's delete failed",
                         {{"ns", task->key.ns}, {"id", task->key.id}, {"error", output.status().ToString()}});
                     end.Clear();
                   }
                   if (end.pid() == 0) end.set_pid(task->pid);
                   if (!end.has_exited_at()) {
                     end.set_exit_status(kKilled);
                     *end.mutable_exited_at() = Now();
                   }
                   done(end);
                 });
}

void Manager::PublishEnd(const Task& task, const shim::DeleteResponse& end) {
  if (end.pid() == 0) return;  // nothing was ever created: there is no start that an end could follow
  absl::Status status;
  if (!task.exit_published) {
    containerd::events::TaskExit exit;
    exit.set_container_id(task.key.id);
    exit.set_id(task.key.id);
    exit.set_pid(end.pid());
    exit.set_exit_status(end.exit_status());
    *exit.mutable_exited_at() = end.exited_at();
    // With its own time: what ended before this daemon began is kept for subscribers who have yet to come.
    containerd::types::Envelope envelope;
    *envelope.mutable_timestamp() = end.exited_at();
    envelope.set_namespace_(task.key.ns);
    envelope.set_topic("/tasks/exit");
    any::Pack(exit, envelope.mutable_event());
    status = parts_.exchange->Forward(std::move(envelope));
    bundles_.MarkExitTold(task.key);
  }
  if (task.delete_published) return;
  containerd::events::TaskDelete deleted;
  deleted.set_container_id(task.key.id);
  deleted.set_pid(end.pid());
  deleted.set_exit_status(end.exit_status());
  *deleted.mutable_exited_at() = end.exited_at();
  status.Update(parts_.exchange->Publish(task.key.ns, "/tasks/delete", deleted));
  if (!status.ok())
    log::Error("cannot publish the end of a task", {{"id", task.key.id}, {"error", status.ToString()}});
}

// Asks the shim to end, and calls `done` when it has. One that does not is killed. One that others need goes on.
void Manager::EndShim(const TaskPtr& task, std::function<void()> done) {
  if (task->client == nullptr || task->client->closed() || IsShared(*task)) {
    parts_.loop->Post(std::move(done));
    return;
  }
  task->when_shim_gone = std::move(done);
  task->end_timer = parts_.loop->RunAfter(options_.timeouts.shim_shutdown, [this, task] {
    task->end_timer = 0;
    OnEndTimeout(task);
  });
  shim::ShutdownRequest request;
  request.set_id(task->key.id);
  request.set_now(true);
  CallShim(task, "Shutdown", request.SerializeAsString(), options_.timeouts.shim_shutdown,
           [](const absl::StatusOr<std::string>&) {});
}

void Manager::OnEndTimeout(const TaskPtr& task) {
  log::Warn("a shim does not end: killing it", {{"ns", task->key.ns}, {"id", task->key.id}});
  // Its end is seen by the watch. One that cannot be killed from here ends by itself as soon as it runs again and
  // sees that its bundle is gone.
  if (task->process.valid() && task->process.Signal(SIGKILL).ok()) return;
  if (task->when_shim_gone) std::exchange(task->when_shim_gone, nullptr)();
}

// Takes the task out of the books; its place is free afterwards.
void Manager::Bury(const TaskPtr& task) {
  Disconnect(task);
  RemoveSocket(*task);
  absl::StatusOr<std::string> discarded = bundles_.Discard(task->key);
  if (!discarded.ok()) {
    log::Error("cannot remove a bundle", {{"id", task->key.id}, {"error", discarded.status().ToString()}});
  } else if (!discarded->empty()) {
    parts_.bulk->Submit([this, path = *discarded] {
      const absl::Status status = bundles_.Destroy(path);
      if (!status.ok()) log::Error("cannot remove a bundle", {{"path", path}, {"error", status.ToString()}});
    });
  }
  departing_.erase(task);
  const auto it = tasks_.find(task->key);
  if (it != tasks_.end() && it->second == task) tasks_.erase(it);
  Known(task);
  Settle(task);
}

void Manager::Delete(const TaskKey& key, DeleteCallback done) {
  absl::StatusOr<TaskPtr> task = FindLive(key);
  if (!task.ok()) {
    done(task.status());
    return;
  }
  // One at a time: the shim may refuse a second before it has done the first, and has nothing left to tell then.
  if (std::exchange((*task)->deleting, true)) {
    (*task)->when_deleted.push_back([this, key, done = std::move(done)] { Delete(key, done); });
    return;
  }
  shim::DeleteRequest request;
  request.set_id(key.id);
  CallTask(*task,
           std::make_shared<const Request>(
               Request{"Delete", request.SerializeAsString(), absl::InfiniteDuration()}),
           [this, task = *task, done = std::move(done)](absl::StatusOr<std::string> answer) {
             task->deleting = false;
             const auto others = std::exchange(task->when_deleted, {});
             OnDeleted(task, std::move(answer), done);
             for (const auto& other : others) other();
           });
}

void Manager::OnDeleted(const TaskPtr& task, absl::StatusOr<std::string> answer, const DeleteCallback& done) {
  if (task->phase == Phase::kEnding) {
    done(absl::NotFoundError(absl::StrCat("task ", task->key.id, " was deleted meanwhile")));
    return;
  }
  shim::DeleteResponse response;
  if (answer.ok() && !response.ParseFromString(*answer)) {
    answer = absl::InternalError("the shim's answer to Delete is damaged");
  }
  const bool connected = task->client != nullptr && !task->client->closed();
  if (!answer.ok() && (!absl::IsNotFound(answer.status()) || !connected)) {
    done(answer.status());  // it runs; or its shim is gone, and is being cleaned up after
    return;
  }
  task->phase = Phase::kEnding;
  if (answer.ok()) {
    task->end.emplace();
    task->end->set_exit_status(response.exit_status());
    *task->end->mutable_exited_at() = response.exited_at();
  }
  // The place is made free at once; the shim ends in its own time. The bundle goes first: should this
  // daemon be killed in between, the next one finds nothing of a task whose end its shim still tells.
  auto place = std::make_shared<Task>(task->key);
  place->when_settled = std::move(task->when_settled);
  departing_.insert(task);
  EndShim(task, [this, task] {
    if (task->end.has_value()) AnswerAllWaits(task, *task->end);
    AnswerAllWaits(task, absl::NotFoundError(absl::StrCat("task ", task->key.id, " was deleted")));
    Disconnect(task);
    departing_.erase(task);
    Settle(task);
  });
  tasks_[task->key] = place;
  place->phase = Phase::kEnding;
  place->when_known = std::move(task->when_known);
  Bury(place);
  RemoveSocket(*task);
  if (answer.ok()) {
    done(std::move(response));
  } else {
    done(answer.status());
  }
}

}  // namespace gantry::tasks
