// When to collect garbage: soon after something was removed, but never so often that it takes more than its share
// of the time; and at once when a client waits for it.
//
//   removal                  at the end of the interval that runs since the last collection
//   mutation_threshold       the same, after so many changes of any kind (0: never)
//   deletion_threshold       schedule_delay from now, after so many removals (0: never)
//   CollectNow               schedule_delay from now
//   start                    after startup_delay, if that is not 0
//
// The interval is the mean time of a collection, at least 5 ms, divided by pause_threshold (at most 0.5; 0: one
// second): 245 ms with the defaults. With nothing to do no timer runs. Source: containerd's
// plugins/gc/scheduler.go (behaviour and defaults).
#ifndef GANTRY_DAEMON_GC_SCHEDULER_H_
#define GANTRY_DAEMON_GC_SCHEDULER_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/gc/collector.h"
#include "daemon/metadata/database.h"
#include "daemon/server/worker_pool.h"
#include "runtime/sys/event_loop.h"

namespace gantry::gc {

struct SchedulerOptions {
  double pause_threshold = 0.02;
  int64_t deletion_threshold = 0;
  int64_t mutation_threshold = 100;
  absl::Duration schedule_delay = absl::ZeroDuration();
  absl::Duration startup_delay = absl::Milliseconds(100);
};

// What a client of the collector needs; a services' dependency.
class Trigger {
 public:
  virtual ~Trigger() = default;
  // Calls `done` once, on a worker, after a collection that began after this call.
  virtual void CollectNow(absl::AnyInvocable<void(absl::Status)> done) = 0;
};

// Thread-safe. Timers run on `loop`, collections on `pool`; both outlive the scheduler's last use, and `collect`
// lives until the pool is gone.
class Scheduler : public Trigger {
 public:
  using Collect = std::function<absl::StatusOr<Collected>()>;
  Scheduler(sys::EventLoop* loop, server::WorkerPool* pool, SchedulerOptions options, Collect collect);
  ~Scheduler() override;

  void Start();
  // For metadata::Database::Observe.
  void OnChange(metadata::Change change);
  void CollectNow(absl::AnyInvocable<void(absl::Status)> done) override;

 private:
  class State;
  const std::shared_ptr<State> state_;
};

}  // namespace gantry::gc

#endif  // GANTRY_DAEMON_GC_SCHEDULER_H_
