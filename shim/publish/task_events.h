// The events of a task, as containerd.events messages with their topics.
//
// A container's life is announced in order: create, start, …, exit, delete; an exec's exec-added, exec-started,
// exit; init's exit is the last exit. The order is the caller's: events leave as they are called for.
// Belongs to the loop's thread.
#ifndef GANTRY_SHIM_PUBLISH_TASK_EVENTS_H_
#define GANTRY_SHIM_PUBLISH_TASK_EVENTS_H_

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "api/proto/containerd/events/task.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "shim/publish/publisher.h"

namespace gantry::shim {

// The same instant; absl::InfinitePast() leaves `timestamp` at its zero value.
void SetTimestamp(absl::Time time, google::protobuf::Timestamp* timestamp);

class TaskEvents {
 public:
  // Null: nobody is told.
  explicit TaskEvents(Publisher* publisher) : publisher_(publisher) {}

  void Create(const containerd::events::TaskCreate& event);
  void Start(const std::string& container, pid_t pid);
  void ExecAdded(const std::string& container, const std::string& exec);
  void ExecStarted(const std::string& container, const std::string& exec, pid_t pid);
  // `process`: the exec's id, or the container's for init. `on_told`: see Publisher::Publish.
  void Exit(const std::string& container, const std::string& process, pid_t pid, uint32_t status,
            absl::Time exited_at, absl::AnyInvocable<void()> on_told = nullptr);
  void Delete(const std::string& container, pid_t pid, uint32_t status, absl::Time exited_at);
  void Oom(const std::string& container);
  void Paused(const std::string& container);
  void Resumed(const std::string& container);
  void Checkpointed(const std::string& container, const std::string& image_path);

 private:
  template <typename Event>
  void Publish(absl::string_view topic, const Event& event, bool droppable = true,
               absl::AnyInvocable<void()> on_told = nullptr);

  Publisher* const publisher_;
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_PUBLISH_TASK_EVENTS_H_
