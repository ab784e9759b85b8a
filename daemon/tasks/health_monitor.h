// Runs the health checks of the containers that ask for them (health_state.h), as execs in their tasks.
//
// No thread and no polling: a check is a timer, then calls to the shim whose answers come back to the loop. Its output
// comes over a FIFO in the bundle, and is read as it comes, so that a check that writes much cannot block. Checks begin
// when a task starts (or is found running by a new daemon) and end with it; a paused one is left alone. A daemon that
// comes back begins anew with "starting".
//
// Everything on the loop's thread; records are read and written on a worker.
#ifndef GANTRY_DAEMON_TASKS_HEALTH_MONITOR_H_
#define GANTRY_DAEMON_TASKS_HEALTH_MONITOR_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "daemon/events/exchange.h"
#include "daemon/server/worker_pool.h"
#include "daemon/tasks/health_state.h"
#include "daemon/tasks/manager.h"
#include "runtime/sys/event_loop.h"

namespace gantry::tasks {

class HealthMonitor {
 public:
  struct Asking {
    std::string check;  // the label kHealthCheck
    std::string spec;   // the runtime specification's JSON
  };
  struct Parts {
    sys::EventLoop* loop;
    server::WorkerPool* pool;
    events::Exchange* exchange;
    Manager* manager;
    // On a worker: the containers with the label kHealthCheck, of all namespaces.
    std::function<absl::StatusOr<std::vector<TaskKey>>()> list;
    // On a worker: nothing for a container without that label.
    std::function<absl::StatusOr<std::optional<Asking>>(const TaskKey&)> read;
    // On a worker: label and extension kHealthStatus.
    std::function<absl::Status(const TaskKey&, const std::string& status, const std::string& json)> write;
  };

  explicit HealthMonitor(Parts parts);
  // The pool must be gone before.
  ~HealthMonitor();
  HealthMonitor(const HealthMonitor&) = delete;
  HealthMonitor& operator=(const HealthMonitor&) = delete;

 private:
  struct Check;  // one run of the command
  struct Patient {
    explicit Patient(HealthConfig c) : config(c), state(std::move(c)) {}
    const HealthConfig config;
    HealthState state;
    std::string process;  // of a check: an OCI Process
    int64_t born_nanos = 0;
    uint64_t number = 0;  // of the last check
    sys::EventLoop::TimerId timer = 0;
    std::shared_ptr<Check> check;
  };

  void OnEvent(const events::Envelope& envelope);
  void Look(const TaskKey& key, bool starts);
  void Begin(const TaskKey& key, const Asking& asking);
  void End(const TaskKey& key);
  Patient* Find(const TaskKey& key, uint64_t number);
  void Arm(const TaskKey& key, Patient* patient);
  void Run(const TaskKey& key);
  void LeaveOut(const std::shared_ptr<Check>& check);
  void Launch(const std::shared_ptr<Check>& check);
  void OnLaunched(const std::shared_ptr<Check>& check, const absl::StatusOr<std::string>& answer);
  void OnTimeout(const std::shared_ptr<Check>& check);
  void Finish(const std::shared_ptr<Check>& check, int exit_code);
  void Report(const TaskKey& key, Patient* patient, HealthResult result);
  void Tell(const TaskKey& key, const HealthState& state);

  const Parts parts_;
  events::Exchange::SubscriptionId subscription_ = 0;
  std::map<TaskKey, std::unique_ptr<Patient>> patients_;
  uint64_t next_ = 1;
};

}  // namespace gantry::tasks

#endif  // GANTRY_DAEMON_TASKS_HEALTH_MONITOR_H_
