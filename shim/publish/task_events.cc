#include "shim/publish/task_events.h"

#include <utility>

#include "runtime/sys/clock.h"

namespace gantry::shim {

void SetTimestamp(absl::Time time, google::protobuf::Timestamp* timestamp) {
  if (time == absl::InfinitePast()) return;
  const int64_t seconds = absl::ToUnixSeconds(time);
  timestamp->set_seconds(seconds);
  timestamp->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

template <typename Event>
void TaskEvents::Publish(absl::string_view topic, const Event& event, bool droppable,
                         absl::AnyInvocable<void()> on_told) {
  if (publisher_ == nullptr) return;
  publisher_->Publish(topic, event.GetTypeName(), event.SerializeAsString(), sys::WallNow(), droppable,
                      std::move(on_told));
}

void TaskEvents::Create(const containerd::events::TaskCreate& event) { Publish("/tasks/create", event); }

void TaskEvents::Start(const std::string& container, pid_t pid) {
  containerd::events::TaskStart event;
  event.set_container_id(container);
  event.set_pid(static_cast<uint32_t>(pid));
  Publish("/tasks/start", event);
}

void TaskEvents::ExecAdded(const std::string& container, const std::string& exec) {
  containerd::events::TaskExecAdded event;
  event.set_container_id(container);
  event.set_exec_id(exec);
  Publish("/tasks/exec-added", event);
}

void TaskEvents::ExecStarted(const std::string& container, const std::string& exec, pid_t pid) {
  containerd::events::TaskExecStarted event;
  event.set_container_id(container);
  event.set_exec_id(exec);
  event.set_pid(static_cast<uint32_t>(pid));
  Publish("/tasks/exec-started", event);
}

void TaskEvents::Exit(const std::string& container, const std::string& process, pid_t pid, uint32_t status,
                      absl::Time exited_at, absl::AnyInvocable<void()> on_told) {
  containerd::events::TaskExit event;
  event.set_container_id(container);
  event.set_id(process);
  event.set_pid(static_cast<uint32_t>(pid));
  event.set_exit_status(status);
  SetTimestamp(exited_at, event.mutable_exited_at());
  Publish("/tasks/exit", event, /*droppable=*/process != container, std::move(on_told));
}

void TaskEvents::Delete(const std::string& container, pid_t pid, uint32_t status, absl::Time exited_at) {
  containerd::events::TaskDelete event;
  event.set_container_id(container);
  event.set_pid(static_cast<uint32_t>(pid));
  event.set_exit_status(status);
  SetTimestamp(exited_at, event.mutable_exited_at());
  Publish("/tasks/delete", event, /*droppable=*/false);
}

void TaskEvents::Oom(const std::string& container) {
  containerd::events::TaskOOM event;
  event.set_container_id(container);
  Publish("/tasks/oom", event);
}

void TaskEvents::Paused(const std::string& container) {
  containerd::events::TaskPaused event;
  event.set_container_id(container);
  Publish("/tasks/paused", event);
}

void TaskEvents::Resumed(const std::string& container) {
  containerd::events::TaskResumed event;
  event.set_container_id(container);
  Publish("/tasks/resumed", event);
}

void TaskEvents::Checkpointed(const std::string& container, const std::string& image_path) {
  containerd::events::TaskCheckpointed event;
  event.set_container_id(container);
  event.set_checkpoint(image_path);
  Publish("/tasks/checkpointed", event);
}

}  // namespace gantry::shim
