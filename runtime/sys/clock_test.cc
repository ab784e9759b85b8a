#include "runtime/sys/clock.h"

#include <gtest/gtest.h>

namespace gantry::sys {
namespace {

TEST(Clock, FormatUtcWritesWhatFormatTimeDoes) {
  for (const int64_t second : {int64_t{0}, int64_t{951782399}, int64_t{951782400}, int64_t{951868800},
                               int64_t{1709164800}, int64_t{1709251199}, int64_t{1735689599},
                               int64_t{1735689600}, int64_t{4107542399}, int64_t{4107542400}}) {
    const absl::Time time = absl::FromUnixSeconds(second) + absl::Nanoseconds(second % 1000000007);
    EXPECT_EQ(FormatUtc(time), absl::FormatTime("%Y-%m-%d%ET%H:%M:%E9SZ", time, absl::UTCTimeZone()));
  }
  for (int64_t day = 0; day < 366 * 140; day++) {
    const absl::Time time = absl::FromUnixSeconds(day * 86400 + day % 86400);
    ASSERT_EQ(FormatUtc(time), absl::FormatTime("%Y-%m-%d%ET%H:%M:%E9SZ", time, absl::UTCTimeZone()));
  }
}

}  // namespace
}  // namespace gantry::sys
