// The states of init and of exec'd processes, as classes: what a state does not allow, it refuses, and by name.
//
//   init: created ─► starting ─► running ◄─► paused          exec: created ─► starting ─► running
//            │           │          │          │                      │           │          │
//            └───────────┴──► stopped ◄────────┘                      └───────────┴──► stopped
//
// A state holds no data: the questions are "may this be asked now?", the answer OK or FAILED_PRECONDITION
// ("cannot start a running process"; NOT_FOUND for a signal to a process that has ended, as clients expect).
// Objects are static and immutable: thread-safe.
#ifndef GANTRY_SHIM_TASK_STATE_H_
#define GANTRY_SHIM_TASK_STATE_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gantry::shim {

// What clients are told; the numbers are those of containerd.v1.types.Status.
enum class ReportedStatus { kCreated = 1, kRunning = 2, kStopped = 3, kPaused = 4, kPausing = 5 };

class ProcessState {
 public:
  virtual ~ProcessState() = default;
  virtual ReportedStatus reported() const = 0;
  // Has not ended, and so can have an exit.
  virtual bool alive() const { return true; }

  virtual absl::Status CheckStart() const;
  virtual absl::Status CheckDelete() const;
  virtual absl::Status CheckKill() const { return absl::OkStatus(); }
  virtual absl::Status CheckPause() const;
  virtual absl::Status CheckResume() const;
  virtual absl::Status CheckCheckpoint() const;
  virtual absl::Status CheckExec() const;
  virtual absl::Status CheckUpdate() const { return absl::OkStatus(); }
  virtual absl::Status CheckResize() const { return absl::OkStatus(); }

 protected:
  // "running", for messages.
  virtual absl::string_view adjective() const = 0;
  absl::Status Refuse(absl::string_view what, absl::string_view noun) const;
};

namespace state {
const ProcessState& Created();      // init waits for Start
const ProcessState& ExecCreated();  // an exec that has no process yet
const ProcessState& Starting();
const ProcessState& Running();
const ProcessState& Paused();
const ProcessState& Stopped();
}  // namespace state

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_TASK_STATE_H_
