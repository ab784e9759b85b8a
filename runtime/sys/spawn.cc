#include "runtime/sys/spawn.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "runtime/sys/close_range.h"
#include "runtime/sys/status.h"

// clone() under the name by which no sanitizer takes it for a fork, whose child has a memory of its own.
extern "C" int __clone(int (*function)(void*), void* stack, int flags, void* argument, ...);

namespace gantry::sys {
namespace {

// All that the child reads; made before it exists. It shares our memory until execve, so it can leave its
// error here.
struct Child {
  const SpawnOptions* options = nullptr;
  std::vector<char*> argv, env;
  std::vector<std::pair<int, int>> fds;  // {source, target}, sorted by target; the sources lie above all
  int first_unused = 3;                  // above the last target
  const char* step = "";
  int error = 0;
  char* stack = nullptr;  // its top; an orphan's own begins kMakerStack below
  pid_t pid = -1;
  int pidfd = -1;
};

constexpr size_t kStack = 48 * 1024;
constexpr size_t kMakerStack = 8 * 1024;

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

bool Fail(Child* child, const char* step) {
  child->step = step;
  child->error = errno;
  return false;
}

bool SetUp(Child* child) {
  const SpawnOptions& options = *child->options;
  // By the kernel's own call, since a sanitizer would note its own sigaction() in the memory that we share.
  const unsigned long default_action[4] = {};       // handler (SIG_DFL), flags, restorer, mask
  for (int signal = 1; signal < _NSIG; signal++) {  // KILL and STOP refuse
    syscall(SYS_rt_sigaction, signal, default_action, nullptr, sizeof(unsigned long));
  }
  if (options.session == SpawnOptions::Session::kNewSession && setsid() < 0) return Fail(child, "setsid");
  if (options.session == SpawnOptions::Session::kNewProcessGroup && setpgid(0, 0) != 0) {
    return Fail(child, "setpgid");
  }
  if (options.setns_pidfd >= 0 && setns(options.setns_pidfd, options.setns_flags) != 0) {
    return Fail(child, "setns");
  }
  if (options.parent_death_signal != 0 && prctl(PR_SET_PDEATHSIG, options.parent_death_signal) != 0) {
    return Fail(child, "prctl PR_SET_PDEATHSIG");
  }
  for (const auto& [source, target] : child->fds) {
    if (dup2(source, target) < 0) return Fail(child, "dup2");
  }
  if (!options.cwd.empty() && chdir(options.cwd.c_str()) != 0) return Fail(child, "chdir");
  if (CloseRange(static_cast<unsigned>(child->first_unused), UINT_MAX, CLOSE_RANGE_CLOEXEC) != 0) {
    return Fail(child, "close_range");
  }
  // Numbers between the targets that nobody asked for.
  size_t next = 0;
  for (int fd = 0; fd < child->first_unused; fd++) {
    if (next < child->fds.size() && child->fds[next].second == fd) {
      next++;
    } else {
      syscall(SYS_close,
              fd);  // by the kernel's own call: gantryd's close() keeps count in the memory that we share
    }
  }
  return true;
}

// The child, on a stack of its own. It returns its status rather than to call _exit(), before which AddressSanitizer would
// look through the frames of a stack that it takes for the parent's.
int RunChild(void* argument) {
  Child* child = static_cast<Child*>(argument);
  if (SetUp(child)) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    execve(child->options->path.c_str(), child->argv.data(), child->env.data());
    Fail(child, "execve");
  }
  return 127;
}

bool Clone(Child* child, char* stack_top) {
  child->pid =
      __clone(RunChild, stack_top, CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD, child, &child->pidfd);
  return child->pid >= 0 || Fail(child, "clone");
}

// The process between us and an orphan. It shares our descriptors, so that the orphan's pidfd is ours.
int MakeOrphan(void* argument) {
  Child* child = static_cast<Child*>(argument);
  Clone(child, child->stack - kMakerStack);
  return 0;
}

// Leaves the child's pid and pidfd in `child`, or the error.
void Start(Child* child) {
  if (!child->options->orphan) {
    Clone(child, child->stack);
    return;
  }
  const pid_t maker =
      __clone(MakeOrphan, child->stack, CLONE_VM | CLONE_VFORK | CLONE_FILES | SIGCHLD, child);
  if (maker < 0) {
    Fail(child, "clone");
    return;
  }
  while (waitpid(maker, nullptr, 0) < 0 && errno == EINTR) continue;
}

}  // namespace

absl::StatusOr<Spawned> Spawn(const SpawnOptions& options) {
  Child child;
  child.options = &options;
  const std::vector<std::string> only_path = {options.path};
  child.argv = Pointers(options.argv.empty() ? only_path : options.argv);
  child.env = Pointers(options.env);
  UniqueFd null(open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return ErrnoStatus("open", "/dev/null");
  std::vector<std::pair<int, int>> wanted = options.fds;
  for (int fd = 0; fd < 3; fd++) {
    const auto is_fd = [fd](const std::pair<int, int>& pair) { return pair.second == fd; };
    if (std::none_of(wanted.begin(), wanted.end(), is_fd)) wanted.emplace_back(null.get(), fd);
  }
  std::sort(wanted.begin(), wanted.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  child.first_unused = wanted.back().second + 1;
  std::vector<UniqueFd> copies;  // above all targets, so that no dup2 closes a source still needed
  for (const auto& [source, target] : wanted) {
    copies.emplace_back(fcntl(source, F_DUPFD_CLOEXEC, child.first_unused));
    if (!copies.back()) return ErrnoStatus("dup", absl::StrCat("descriptor ", source));
    child.fds.emplace_back(copies.back().get(), target);
  }

  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &old);
  const absl::Cleanup restore = [&old] { pthread_sigmask(SIG_SETMASK, &old, nullptr); };
  // The child runs on a stack of its own in our memory, while we are suspended (CLONE_VFORK).
  alignas(64) static thread_local char stack[kStack];
  child.stack = stack + sizeof stack;
  Start(&child);
  Spawned spawned{child.pid, PidFd(UniqueFd(child.pidfd))};
  if (child.error != 0) {
    if (spawned.pidfd.valid() && !options.orphan)
      spawned.pidfd.Reap(PidFd::Block::kWait).status().IgnoreError();
    const bool names_cwd = absl::string_view(child.step) == "chdir";
    return ErrnoStatus(child.step, names_cwd ? options.cwd : options.path, child.error);
  }
  return spawned;
}

}  // namespace gantry::sys
