// The clocks, in one place. Timeouts and durations use the monotonic clock; wall time is for what people and
// clients are shown. Thread-safe.
#ifndef GANTRY_RUNTIME_SYS_CLOCK_H_
#define GANTRY_RUNTIME_SYS_CLOCK_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"

namespace gantry::sys {

// CLOCK_MONOTONIC: never jumps, stops during suspend. Only differences mean something.
int64_t MonotonicNanos();

// CLOCK_REALTIME: may jump either way. Never for timeouts.
absl::Time WallNow();

// `time`, not before 1970, as RFC 3339 has it, in UTC, with nanoseconds: "2026-01-31T09:05:00.000000001Z". absl::FormatTime does the
// same by way of a time zone and its rules, which in a program that lives for milliseconds are most of the price.
std::string FormatUtc(absl::Time time);

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
