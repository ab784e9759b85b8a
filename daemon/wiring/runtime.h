// What runs containers: the task manager, the sandbox controller, the socket for the shims' events, the monitors, and
// the services of tasks and sandboxes.
#ifndef GANTRY_DAEMON_WIRING_RUNTIME_H_
#define GANTRY_DAEMON_WIRING_RUNTIME_H_

#include <memory>

#include "absl/status/statusor.h"
#include "daemon/sandbox/controller.h"
#include "daemon/services/checkpoint_images.h"
#include "daemon/tasks/event_endpoint.h"
#include "daemon/tasks/health_monitor.h"
#include "daemon/tasks/manager.h"
#include "daemon/tasks/restart_monitor.h"
#include "daemon/wiring/core.h"
#include "daemon/wiring/storage.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::wiring {

// Must be destroyed after the workers, on the loop's thread. Members in the order of their making.
struct Runtime {
  std::unique_ptr<tasks::Manager> manager;
  std::unique_ptr<sandbox::Controller> sandboxes;
  std::unique_ptr<tasks::EventEndpoint> endpoint;
  std::unique_ptr<tasks::RestartMonitor> restarts;
  std::unique_ptr<tasks::HealthMonitor> health;
  std::unique_ptr<services::CheckpointImages> checkpoints;
};

// Finds the shims of a former daemon, serves their events on `event_socket` (bound to the configuration's ttrpc
// address), and adds the service and the plugin records. Core and what it points at outlive the result.
absl::StatusOr<std::unique_ptr<Runtime>> MakeRuntime(Core& core, Storage* storage, sys::UniqueFd event_socket,
                                                     Services* services);

}  // namespace gantry::wiring

#endif  // GANTRY_DAEMON_WIRING_RUNTIME_H_
