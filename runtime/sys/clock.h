// The clocks, in one place. Timeouts and durations use the monotonic clock; wall time is for what people and
// clients are shown. Thread-safe.
#ifndef GANTRY_RUNTIME_SYS_CLOCK_H_
#define GANTRY_RUNTIME_SYS_CLOCK_H_

#include <cstdint>

#include "absl/time/time.h"

namespace gantry::sys {

// CLOCK_MONOTONIC: never jumps, stops during suspend. Only differences mean something.
int64_t MonotonicNanos();

// CLOCK_REALTIME: may jump either way. Never for timeouts.
absl::Time WallNow();

// A point of the monotonic clock by which something must be done.
class Deadline {
 public:
  static Deadline After(absl::Duration timeout);
  static Deadline Never();

  bool Passed() const { return Left() <= absl::ZeroDuration(); }
  absl::Duration Left() const;  // not below zero; InfiniteDuration for Never
  int PollTimeout() const;      // for poll(2): milliseconds, rounded up; -1 for Never

 private:
  int64_t nanos_ = INT64_MAX;
};

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_CLOCK_H_
