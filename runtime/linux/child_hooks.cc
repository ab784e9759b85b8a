// The child: hooks.
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/linux/child.h"

namespace gantry::linux {
namespace {

// Runs in our memory until its execve.
struct HookProcess {
  const char* path;
  char* const* argv;
  char* const* env;
  int state;
  int error;
};

int RunHookProcess(void* argument) {
  auto* hook = static_cast<HookProcess*>(argument);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  if (dup2(hook->state, 0) == 0) execve(hook->path, hook->argv, hook->env);
  hook->error = errno;
  _exit(127);
}

int64_t NowMillis() {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000 + now.tv_nsec / 1000000;
}

// Waits for the process to end, not beyond `deadline` (milliseconds; -1: for ever). false: time is up.
bool WaitFor(int pidfd, int64_t deadline) {
  for (;;) {
    const int64_t left = deadline < 0 ? -1 : deadline - NowMillis();
    if (deadline >= 0 && left <= 0) return false;
    struct pollfd poll_fd = {pidfd, POLLIN, 0};
    const int n = poll(&poll_fd, 1, static_cast<int>(left));
    if (n > 0) return true;
    if (n < 0 && errno != EINTR) return true;
  }
}

}  // namespace

bool Child::Do(const plan::HostHooks&) {
  Message message;
  message.kind = MessageKind::kHooks;
  errno = SendMessage(p_.sync, message);
  if (errno != 0) return Fail("ask for the hooks");
  return WaitForGo();
}

bool Child::Do(const plan::ContainerHooks& op) {
  const int state = op.start ? p_.start_hook_state : p_.hook_state;
  for (const oci::Hook& hook : op.hooks) {
    const ExecVectors& vectors = p_.hooks[next_hook_++];
    lseek(state, 0, SEEK_SET);
    HookProcess process = {hook.path.c_str(), vectors.argv.data(), vectors.env.data(), state, 0};
    alignas(64) char stack[16 * 1024];
    int pidfd = -1;
    const pid_t pid = clone(RunHookProcess, stack + sizeof stack,
                            CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, &process, &pidfd);
    if (pid < 0) return Fail("clone for the hook", hook.path.c_str());
    const int64_t deadline = hook.timeout.has_value() ? NowMillis() + int64_t{*hook.timeout} * 1000 : -1;
    const bool in_time = WaitFor(pidfd, deadline);
    close(pidfd);
    if (!in_time) kill(pid, SIGKILL);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (process.error != 0) {
      errno = process.error;
      return Fail("hook", hook.path.c_str());
    }
    if (!in_time) return FailAs(Failure::kOther, "hook took longer than its timeout", hook.path.c_str());
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
      return FailAs(Failure::kOther, "hook failed (exit status or signal)", hook.path.c_str());
    }
  }
  return true;
}

}  // namespace gantry::linux
