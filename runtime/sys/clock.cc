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

std::string FormatUtc(absl::Time time) {
  constexpr int64_t kDay = 86400;
  const struct timespec at = absl::ToTimespec(std::max(time, absl::UnixEpoch()));
  // Not gmtime_r, which reads the local time zone's file first.
  int64_t day = at.tv_sec / kDay, year = 1970;
  const auto is_leap = [&year]() { return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0); };
  for (int days; day >= (days = is_leap() ? 366 : 365); day -= days) year++;
  const int months[] = {31, is_leap() ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  int month = 0;
  for (; day >= months[month]; month++) day -= months[month];
  const int64_t second = at.tv_sec % kDay;
  std::string text;
  const auto number = [&text](int64_t value, int digits, char after) {
    std::string part(static_cast<size_t>(digits) + 1, after);
    for (int i = digits; i-- > 0; value /= 10)
      part[static_cast<size_t>(i)] = static_cast<char>('0' + value % 10);
    text += part;
  };
  number(year, 4, '-');
  number(month + 1, 2, '-');
  number(day + 1, 2, 'T');
  number(second / 3600, 2, ':');
  number(second / 60 % 60, 2, ':');
  number(second % 60, 2, '.');
  number(at.tv_nsec, 9, 'Z');
  return text;
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
