#include "runtime/linux/seccomp.h"

#include <gtest/gtest.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/oci/default_seccomp.h"
#include "runtime/oci/spec.h"

namespace gantry::linux {
namespace {

// What the system call number `nr` answers under `profile`: 0 or more, -errno, or -1000 - signal.
int Try(const oci::Seccomp& profile, long nr, long a = 0, long b = 0) {
  const auto program = CompileSeccomp(profile);
  EXPECT_TRUE(program.ok()) << program.status();
  if (!program.ok()) return 0;
  int ends[2];
  if (pipe(ends) != 0) return -9999;
  const pid_t child = fork();
  if (child == 0) {
    sock_fprog filter = {static_cast<unsigned short>(program->size()),
                         const_cast<sock_filter*>(program->data())};
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) != 0) _exit(99);
    const long answer = syscall(nr, a, b, 0, 0, 0, 0);
    const int result = answer < 0 ? -errno : static_cast<int>(answer);
    // Only what the filter allows: a sanitizer makes calls of its own in write() and _exit().
    syscall(SYS_write, ends[1], &result, sizeof result);
    syscall(SYS_exit_group, 0);
  }
  close(ends[1]);
  int result = -9998;
  (void)!read(ends[0], &result, sizeof result);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_FALSE(WIFEXITED(status) && WEXITSTATUS(status) == 99) << "the kernel refused the program";
  return WIFSIGNALED(status) ? -1000 - WTERMSIG(status) : result;
}

// Everything that the test's child itself needs, and what `names` adds.
oci::Seccomp Allowing(std::vector<std::string> names) {
  oci::Seccomp profile;
  profile.default_action = oci::SeccompAction::kErrno;
  names.insert(names.end(), {"write", "exit_group", "exit"});
  profile.syscalls.push_back({.names = std::move(names), .action = oci::SeccompAction::kAllow});
  return profile;
}

TEST(CompileSeccomp, AllowsWhatIsNamedAndRefusesTheRest) {
  EXPECT_GT(Try(Allowing({"getpid"}), SYS_getpid), 0);
  EXPECT_EQ(Try(Allowing({"sched_yield"}), SYS_getpid), -EPERM);
}

TEST(CompileSeccomp, TakesTheErrnoOfTheProfile) {
  oci::Seccomp profile = Allowing({"sched_yield"});
  profile.default_errno_ret = EXDEV;
  EXPECT_EQ(Try(profile, SYS_getpid), -EXDEV);
  profile.syscalls.push_back(
      {.names = {"getppid"}, .action = oci::SeccompAction::kErrno, .errno_ret = ENODEV});
  EXPECT_EQ(Try(profile, SYS_getppid), -ENODEV);
}

TEST(CompileSeccomp, AnswersEnosysForCallsNewerThanTheProfile) {
  EXPECT_EQ(Try(Allowing({"getpid"}), 100000), -ENOSYS);
  EXPECT_EQ(Try(Allowing({"getpid", "made_up_call"}), 100000), -ENOSYS);
  oci::Seccomp profile = Allowing({"getpid"});
  profile.default_action = oci::SeccompAction::kKillProcess;
  EXPECT_EQ(Try(profile, 100000), -ENOSYS);
  EXPECT_EQ(Try(profile, SYS_chdir), -1000 - SIGSYS);
}

TEST(CompileSeccomp, ComparesArguments) {
  oci::Seccomp profile = Allowing({});
  profile.syscalls.push_back({.names = {"getpriority"},
                              .action = oci::SeccompAction::kAllow,
                              .args = {{.index = 0, .value = PRIO_PROCESS, .op = oci::SeccompOp::kEq}}});
  EXPECT_GT(Try(profile, SYS_getpriority, PRIO_PROCESS, 0), 0);
  EXPECT_EQ(Try(profile, SYS_getpriority, PRIO_USER, 0), -EPERM);
}

TEST(CompileSeccomp, SeveralConditionsOnOneArgumentAreAlternatives) {
  oci::Seccomp profile = Allowing({});
  profile.syscalls.push_back({.names = {"getpriority"},
                              .action = oci::SeccompAction::kAllow,
                              .args = {{.index = 0, .value = PRIO_PROCESS, .op = oci::SeccompOp::kEq},
                                       {.index = 0, .value = PRIO_PGRP, .op = oci::SeccompOp::kEq}}});
  EXPECT_GT(Try(profile, SYS_getpriority, PRIO_PROCESS, 0), 0);
  EXPECT_GT(Try(profile, SYS_getpriority, PRIO_PGRP, 0), 0);
  EXPECT_EQ(Try(profile, SYS_getpriority, PRIO_USER, 0), -EPERM);
}

TEST(CompileSeccomp, KillsAnotherArchitectureUnlessItIsNamed) {
  oci::Seccomp profile = Allowing({"getpid"});
  const size_t alone = CompileSeccomp(profile)->size();
  profile.architectures = {"SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"};
  EXPECT_GT(CompileSeccomp(profile)->size(), alone);
  EXPECT_GT(Try(profile, SYS_getpid), 0);
}

TEST(CompileSeccomp, RefusesWhatMakesNoSense) {
  oci::Seccomp profile = Allowing({});
  profile.architectures = {"SCMP_ARCH_PDP11"};
  EXPECT_EQ(CompileSeccomp(profile).status().code(), absl::StatusCode::kUnimplemented);
  profile = Allowing({});
  profile.default_errno_ret = 70000;
  EXPECT_EQ(CompileSeccomp(profile).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CompileSeccomp, NewCallsOfX32AnswerEnosysToo) {
  oci::Seccomp profile = Allowing({"getpid"});
  profile.architectures = {"SCMP_ARCH_X86_64", "SCMP_ARCH_X32"};
  EXPECT_GT(Try(profile, SYS_getpid), 0);
  EXPECT_EQ(Try(profile, SYS_chdir), -EPERM);
  EXPECT_EQ(Try(profile, 100000), -ENOSYS);
  EXPECT_EQ(Try(profile, 0x40000000 + 100000), -ENOSYS);
}

TEST(CompileSeccomp, ATracerIsAskedAboutNewCalls) {
  oci::Seccomp profile = Allowing({"getpid"});
  profile.default_action = oci::SeccompAction::kTrace;
  // Nobody traces: the kernel answers ENOSYS by itself, and the program has no instruction for it.
  oci::Seccomp same = profile;
  same.default_action = oci::SeccompAction::kTrap;
  EXPECT_LT(CompileSeccomp(profile)->size(), CompileSeccomp(same)->size());
}

// CVE-2026-31431: sockets that reach the kernel's cryptography, or the hypervisor, past every namespace.
TEST(DefaultProfile, CVE_2026_31431_AlgAndVsockSocketsAreDenied) {
  const oci::Seccomp profile = oci::DefaultSeccomp(oci::DefaultCapabilities());
  EXPECT_EQ(Try(profile, SYS_socket, AF_ALG, SOCK_SEQPACKET), -EPERM);
  EXPECT_EQ(Try(profile, SYS_socket, AF_VSOCK, SOCK_STREAM), -EPERM);
  EXPECT_GT(Try(profile, SYS_socket, AF_UNIX, SOCK_STREAM), 0);
}

}  // namespace
}  // namespace gantry::linux
