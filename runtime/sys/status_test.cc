#include "runtime/sys/status.h"

#include <gtest/gtest.h>

namespace gantry::sys {
namespace {

TEST(ErrnoStatus, NamesTheCallTheSubjectAndTheReason) {
  const absl::Status status = ErrnoStatus("openat2", "/x", ENOENT);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(status.message(), "openat2 /x: No such file or directory");
  EXPECT_EQ(ErrnoOf(status), ENOENT);
}

TEST(ErrnoStatus, KeepsTheErrnoThatTheCodeLoses) {
  EXPECT_EQ(ErrnoOf(ErrnoStatus("umount2", "/m", EBUSY)), EBUSY);
  EXPECT_EQ(ErrnoOf(absl::InternalError("no call failed")), 0);
  EXPECT_EQ(ErrnoOf(absl::OkStatus()), 0);
}

TEST(Annotate, PutsContextBeforeTheMessageAndKeepsThePayload) {
  const absl::Status status = Annotate(ErrnoStatus("mkdir", "/m", EEXIST), "bundle b1");
  EXPECT_EQ(status.message(), "bundle b1: mkdir /m: File exists");
  EXPECT_EQ(ErrnoOf(status), EEXIST);
  EXPECT_TRUE(Annotate(absl::OkStatus(), "x").ok());
}

absl::StatusOr<int> Half(int n) {
  if (n % 2 != 0) return absl::InvalidArgumentError("odd");
  return n / 2;
}

absl::StatusOr<int> Quarter(int n) {
  GANTRY_ASSIGN_OR_RETURN(const int half, Half(n));
  GANTRY_RETURN_IF_ERROR(Half(half).status());
  return half / 2;
}

TEST(Macros, PassErrorsOn) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(6).status().message(), "odd");
  EXPECT_EQ(Quarter(7).status().message(), "odd");
}

}  // namespace
}  // namespace gantry::sys
