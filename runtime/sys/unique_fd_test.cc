#include "runtime/sys/unique_fd.h"

#include <fcntl.h>
#include <gtest/gtest.h>

namespace gantry::sys {
namespace {

bool IsOpen(int fd) { return fcntl(fd, F_GETFD) >= 0; }
int NewFd() { return open("/dev/null", O_RDONLY | O_CLOEXEC); }

TEST(UniqueFd, ClosesAtTheEndOfItsScope) {
  int raw;
  {
    UniqueFd fd(NewFd());
    raw = fd.get();
    EXPECT_TRUE(IsOpen(raw));
  }
  EXPECT_FALSE(IsOpen(raw));
}

TEST(UniqueFd, AssignmentClosesTheOldDescriptor) {
  UniqueFd first(NewFd());
  UniqueFd second(NewFd());
  const int old = first.get();
  const int kept = second.get();
  first = std::move(second);
  EXPECT_FALSE(IsOpen(old));
  EXPECT_EQ(first.get(), kept);
  EXPECT_FALSE(second.valid());
}

TEST(UniqueFd, ReleaseGivesOwnershipAway) {
  UniqueFd fd(NewFd());
  const int raw = fd.release();
  EXPECT_FALSE(fd.valid());
  EXPECT_TRUE(IsOpen(raw));
  close(raw);
}

TEST(UniqueFd, ResetKeepsErrno) {
  UniqueFd fd(NewFd());
  errno = EXDEV;
  fd.reset();
  EXPECT_EQ(errno, EXDEV);
}

}  // namespace
}  // namespace gantry::sys
