#include "daemon/gc/scheduler.h"

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/log.h"

namespace gantry::gc {
namespace {

constexpr absl::Duration kShortestCollection = absl::Milliseconds(5);
constexpr absl::Duration kFirstInterval = absl::Seconds(1);
constexpr absl::Duration kRetryDelay = absl::Seconds(1);

absl::Duration Monotonic() { return absl::Nanoseconds(sys::MonotonicNanos()); }

}  // namespace

// Shared with the timers and the work that are under way.
class Scheduler::State : public std::enable_shared_from_this<Scheduler::State> {
 public:
  State(sys::EventLoop* loop, server::WorkerPool* pool, SchedulerOptions options, Collect collect)
      : loop_(loop), pool_(pool), options_(options), collect_(std::move(collect)) {
    options_.pause_threshold = std::clamp(options_.pause_threshold, 0.0, 0.5);
    interval_ends_ = Monotonic() + options_.startup_delay;
  }

  void Start() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (options_.startup_delay > absl::ZeroDuration()) Arm(interval_ends_);
  }

  void OnChange(metadata::Change change) {
    std::lock_guard<std::mutex> lock(mutex_);
    ++mutations_;
    if (change == metadata::Change::kRemoval) ++removals_;
    ArmIfDue();
  }

  void CollectNow(absl::AnyInvocable<void(absl::Status)> done) {
    std::lock_guard<std::mutex> lock(mutex_);
    waiting_.push_back(std::move(done));
    Arm(Monotonic() + options_.schedule_delay);
  }

 private:
  // All below: with mutex_ held, but for Fire and Run.

  void ArmIfDue() {
    if (options_.deletion_threshold > 0 && removals_ >= options_.deletion_threshold) {
      Arm(Monotonic() + options_.schedule_delay);
    } else if (removals_ > 0 ||
               (options_.mutation_threshold > 0 && mutations_ >= options_.mutation_threshold)) {
      Arm(std::max(interval_ends_, Monotonic() + options_.schedule_delay));
    }
  }

  // Sees to it that a collection begins at `when` or earlier. While one runs it is armed at its end.
  void Arm(absl::Duration when) {
    if (running_ || (armed_ && armed_for_ <= when)) return;
    armed_ = true;
    armed_for_ = when;
    const uint64_t generation = ++generation_;
    loop_->Post([self = shared_from_this(), when, generation] {
      self->loop_->RunAfter(std::max(when - Monotonic(), absl::ZeroDuration()),
                            [self, generation] { self->Fire(generation); });
    });
  }

  void Fire(uint64_t generation) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (generation != generation_ || running_) return;  // armed anew for an earlier time
      armed_ = false;
      running_ = true;
      serving_ = std::exchange(waiting_, {});
      removals_ = 0;
      mutations_ = 0;
    }
    pool_->Submit([self = shared_from_this()] { self->Run(); });
  }

  void Run() {
    const absl::Duration begin = Monotonic();
    const absl::StatusOr<Collected> collected = collect_();
    const absl::Duration took = Monotonic() - begin;
    if (!collected.ok()) {
      log::Error("garbage collection failed", {{"error", collected.status().ToString()}});
    } else if (collected->records > 0 || collected->files > 0) {
      log::Debug("garbage collected", {{"records", absl::StrCat(collected->records)},
                                       {"files", absl::StrCat(collected->files)},
                                       {"took", absl::FormatDuration(took)}});
    }
    std::vector<absl::AnyInvocable<void(absl::Status)>> served;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      running_ = false;
      served = std::exchange(serving_, {});
      total_ += took;
      ++collections_;
      interval_ends_ = Monotonic() + Interval();
      if (!collected.ok()) {
        interval_ends_ += kRetryDelay;
        ++removals_;  // what was to be collected still is
      }
      if (!waiting_.empty()) Arm(Monotonic() + options_.schedule_delay);
      ArmIfDue();
    }
    for (auto& done : served) done(collected.status());
  }

  absl::Duration Interval() const {
    if (options_.pause_threshold == 0.0) return kFirstInterval;
    const absl::Duration mean = std::max(total_ / collections_, kShortestCollection);
    return mean / options_.pause_threshold - mean;
  }

  sys::EventLoop* const loop_;
  server::WorkerPool* const pool_;
  SchedulerOptions options_;
  const Collect collect_;

  std::mutex mutex_;
  bool running_ = false;
  bool armed_ = false;
  absl::Duration armed_for_;  // on the monotonic clock, as all times here
  absl::Duration interval_ends_;
  uint64_t generation_ = 0;  // of the timer that counts
  int64_t removals_ = 0;     // since the last collection began
  int64_t mutations_ = 0;
  absl::Duration total_;
  int64_t collections_ = 0;
  std::vector<absl::AnyInvocable<void(absl::Status)>> waiting_;  // for the next collection
  std::vector<absl::AnyInvocable<void(absl::Status)>> serving_;  // by the one that runs
};

Scheduler::Scheduler(sys::EventLoop* loop, server::WorkerPool* pool, SchedulerOptions options,
                     Collect collect)
    : state_(std::make_shared<State>(loop, pool, options, std::move(collect))) {}
Scheduler::~Scheduler() = default;

void Scheduler::Start() { state_->Start(); }
void Scheduler::OnChange(metadata::Change change) { state_->OnChange(change); }
void Scheduler::CollectNow(absl::AnyInvocable<void(absl::Status)> done) {
  state_->CollectNow(std::move(done));
}

}  // namespace gantry::gc
