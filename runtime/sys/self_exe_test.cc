#include "runtime/sys/self_exe.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "runtime/sys/status.h"

namespace gantry::sys {
namespace {

int changed_before = 1;         // .data
int zero_before;                // .bss
const char* pointer = "first";  // relocated in a program that may lie anywhere

// 0 when /proc/self/exe, and a descriptor of it opened again, lead to a read-only mount. (While the program runs,
// opening it for writing fails anyway, with ETXTBSY: so the mount is what is asked.)
int CheckExe() {
  struct statvfs fs;
  if (statvfs("/proc/self/exe", &fs) != 0 || (fs.f_flag & ST_RDONLY) == 0) return 10;
  if (access("/proc/self/exe", W_OK) == 0 || errno != EROFS) return 11;
  const UniqueFd exe(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  const std::string again = "/proc/self/fd/" + std::to_string(exe.get());
  if (access(again.c_str(), W_OK) == 0 || errno != EROFS) return 12;
  if (open(again.c_str(), O_RDWR | O_CLOEXEC) >= 0) return 13;
  return 0;
}

// Runs `body` in a child and gives its exit status.
int InChild(int (*body)()) {
  const pid_t pid = fork();
  if (pid == 0) _exit(body());
  int status = 0;
  if (pid < 0 || waitpid(pid, &status, 0) != pid) return -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

constexpr int kRefused = 77;

int Move() {
  changed_before = 2;
  zero_before = 3;
  pointer = "second";
  auto self = OpenSelfReadOnly();
  if (!self.ok()) return kRefused;
  if (!MoveOntoMount(*self).ok()) return kRefused;
  if (const int failed = CheckExe(); failed != 0) return failed;
  if (changed_before != 2 || zero_before != 3 || std::string(pointer) != "second") return 20;
  // Data can still be written, and those that are forked have it from here.
  changed_before = 4;
  const int in_child =
      InChild([]() { return changed_before == 4 && ErrnoStatus("x", "", EIO).ok() ? 21 : CheckExe(); });
  if (in_child != 0) return 30 + in_child;
  // A second time there is nothing to do.
  char* argv[] = {nullptr};
  auto again = RunFromReadOnlyMount(argv);
  return again.ok() && !again->valid() ? 0 : 22;
}

TEST(SelfExe, AMovedProgramRunsOnAndItsFileCannotBeWritten) {
  const int result = InChild(Move);
  if (result == kRefused) {
    GTEST_SKIP() << "needs CAP_SYS_ADMIN and a kernel with CONFIG_CHECKPOINT_RESTORE";
  }
  EXPECT_EQ(result, 0);
  EXPECT_EQ(changed_before, 1);
}

TEST(SelfExe, WhatCannotBeMovedIsExecutedAgain) {
  // The second life of this test program lists its tests to /dev/null: its end is all that is looked at.
  const int result = InChild([]() {
    auto self = OpenSelfReadOnly();
    if (!self.ok()) return kRefused;
    // Some of the program stays mapped through the old mount, so that the kernel refuses.
    const UniqueFd old(open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    void* mapped = mmap(nullptr, 1, PROT_READ, MAP_PRIVATE, old.get(), 0);
    if (mapped == MAP_FAILED) return 40;
    if (MoveOntoMount(*self).ok()) return 41;
    if (dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 1) < 0) return 42;
    char name[] = "again", list[] = "--gtest_list_tests";
    char* argv[] = {name, list, nullptr};
    RunFromReadOnlyMount(argv).status().IgnoreError();
    return 43;
  });
  if (result == kRefused) GTEST_SKIP() << "needs CAP_SYS_ADMIN";
  EXPECT_EQ(result, 0);
}

}  // namespace
}  // namespace gantry::sys
