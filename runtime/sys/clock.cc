#include "runtime/sys/clock.h"

#include <time.h>

#include <algorithm>
#include <climits>

namespace gantry::sys {

int64_t MonotonicNanos() {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

absl::Time WallNow() {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  return absl::TimeFromTimespec(now);
}

Deadline Deadline::After(absl::Duration timeout) {
  Deadline deadline;
  if (timeout != absl::InfiniteDuration())
    deadline.nanos_ = MonotonicNanos() + absl::ToInt64Nanoseconds(timeout);
  return deadline;
}

Deadline Deadline::Never() { return Deadline(); }

absl::Duration Deadline::Left() const {
  if (nanos_ == INT64_MAX) return absl::InfiniteDuration();
  return absl::Nanoseconds(std::max<int64_t>(0, nanos_ - MonotonicNanos()));
}

int Deadline::PollTimeout() const {
  const absl::Duration left = Left();
  if (left == absl::InfiniteDuration()) return -1;
  return static_cast<int>(std::min<int64_t>(
      INT_MAX, absl::ToInt64Milliseconds(left + absl::Milliseconds(1) - absl::Nanoseconds(1))));
}

}  // namespace gantry::sys
