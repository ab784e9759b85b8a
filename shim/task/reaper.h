// Reaps every child of the shim.
//
// Those that are watched (init, execs, loggers) by their pidfd: it is in the event loop, and waitid(P_PIDFD)
// takes the status. All others (builders, and orphans that the kernel gives to a subreaper) when SIGCHLD tells
// of them: nobody asks for their status.
//
// Blocks SIGCHLD and SIGTERM for the process and reads them from a signalfd. Belongs to the loop's thread.
#ifndef GANTRY_SHIM_TASK_REAPER_H_
#define GANTRY_SHIM_TASK_REAPER_H_

#include <sys/types.h>

#include <memory>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/sys/event_loop.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::shim {

class Reaper {
 public:
  using OnExit = absl::AnyInvocable<void(sys::ExitStatus)>;

  // `on_terminate` is called for SIGTERM.
  static absl::StatusOr<std::unique_ptr<Reaper>> Create(sys::EventLoop* loop,
                                                        absl::AnyInvocable<void()> on_terminate);
  ~Reaper();
  Reaper(const Reaper&) = delete;
  Reaper& operator=(const Reaper&) = delete;

  // Calls `on_exit` once, after the child has ended and was reaped; never from inside. Borrows `pidfd` until
  // then.
  absl::Status Watch(pid_t pid, const sys::PidFd& pidfd, OnExit on_exit);
  // Watches a process that is no child of ours: its status is the kernel's record behind the pidfd (Linux 6.15).
  absl::Status WatchForeign(pid_t pid, const sys::PidFd& pidfd, OnExit on_exit);
  // Watches a child whose status nobody needs, and whose pidfd this keeps.
  absl::Status WatchOwned(pid_t pid, sys::PidFd pidfd, OnExit on_exit);

  // Takes the exit of a watched child now if it has ended: then `on_exit` has run.
  void Poll(pid_t pid);

  // While any hold lasts, unknown children are left unreaped: one of them may be a child that a builder has made
  // and nobody could watch yet. Every Hold is followed by a Release, once its child is watched or will not come.
  void Hold() { ++holds_; }
  void Release();

  size_t watched() const { return children_.size(); }

 private:
  struct Child {
    const sys::PidFd* pidfd = nullptr;
    sys::PidFd owned;
    OnExit on_exit;
    bool foreign = false;
    sys::EventLoop::TimerId retry = 0;
  };

  Reaper(sys::EventLoop* loop, sys::UniqueFd signals, absl::AnyInvocable<void()> on_terminate);
  absl::Status Add(pid_t pid, std::unique_ptr<Child> child);
  // The status of one that has ended; nothing: not yet known.
  std::optional<sys::ExitStatus> StatusOf(pid_t pid, Child* child);
  void OnSignal();
  void ReapOthers();

  sys::EventLoop* const loop_;
  sys::UniqueFd signals_;
  absl::AnyInvocable<void()> on_terminate_;
  int holds_ = 0;
  absl::flat_hash_map<pid_t, std::unique_ptr<Child>> children_;
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_TASK_REAPER_H_
