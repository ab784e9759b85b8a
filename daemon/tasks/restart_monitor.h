// Keeps containers running whose labels ask for it (restart_policy.h): looks at them every interval, as long as there
// are any.
//
// Without such containers no timer runs: the monitor looks again when a container was made or changed. Everything on
// the loop's thread; records are read on a worker.
#ifndef GANTRY_DAEMON_TASKS_RESTART_MONITOR_H_
#define GANTRY_DAEMON_TASKS_RESTART_MONITOR_H_

#include <functional>
#include <memory>
#include <set>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/events/exchange.h"
#include "daemon/server/worker_pool.h"
#include "daemon/tasks/manager.h"
#include "daemon/tasks/restart_policy.h"
#include "runtime/sys/event_loop.h"

namespace gantry::tasks {

struct LabelledContainer {
  TaskKey key;
  LabelMap labels;
};

class RestartMonitor {
 public:
  struct Parts {
    sys::EventLoop* loop;
    server::WorkerPool* pool;
    events::Exchange* exchange;
    Manager* manager;
    // On a worker: all containers with the label kRestartStatus, of all namespaces.
    std::function<absl::StatusOr<std::vector<LabelledContainer>>()> list;
    // On a worker: notes the new restart count, and what the task is made of (root file system, streams).
    std::function<absl::StatusOr<shim::CreateTaskRequest>(const LabelledContainer&, int count)> prepare;
  };

  RestartMonitor(Parts parts, absl::Duration interval);
  // The pool must be gone before.
  ~RestartMonitor();
  RestartMonitor(const RestartMonitor&) = delete;
  RestartMonitor& operator=(const RestartMonitor&) = delete;

 private:
  void Arm();
  void Look();
  void Consider(const LabelledContainer& container);
  void Apply(const LabelledContainer& container, RestartAction action, bool has_task);
  void Stop(const LabelledContainer& container, std::function<void()> done);
  void Start(const LabelledContainer& container);
  void Done(const TaskKey& key, const absl::Status& status);

  const Parts parts_;
  const absl::Duration interval_;
  events::Exchange::SubscriptionId subscription_ = 0;
  sys::EventLoop::TimerId timer_ = 0;
  std::set<TaskKey> busy_;
};

}  // namespace gantry::tasks

#endif  // GANTRY_DAEMON_TASKS_RESTART_MONITOR_H_
