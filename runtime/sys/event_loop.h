// A single-threaded event loop over epoll(7): descriptors, timers, and work handed over from other threads.
//
//   ASSIGN_OR_RETURN(auto loop, EventLoop::Create());
//   loop->Add(fd, EPOLLIN, [&](uint32_t events) { ... });
//   loop->RunAfter(absl::Seconds(1), [] { ... });
//   loop->Run();  // until Stop()
//
// Timers live on CLOCK_MONOTONIC and set epoll's own timeout, so that a loop without timers and without ready
// descriptors never wakes, and costs two descriptors and a few hundred bytes.
//
// Thread safety: everything belongs to the thread that calls Run(); Post() alone may be called from any
// thread. Callbacks run one at a time, on that thread, never from inside Add, RunAfter, Post or another
// callback. A callback may add, modify and remove any descriptor (its own too) and any timer: after
// Remove(fd) or Cancel(id) returns, that callback is not called again, even for an event that was already
// collected.
//
// A forked child shares the kernel's epoll set: it must not call Add, Modify, Remove or Run on its copy
// (which would change the parent's set). Destroying it, or _exit, is harmless.
#ifndef GANTRY_RUNTIME_SYS_EVENT_LOOP_H_
#define GANTRY_RUNTIME_SYS_EVENT_LOOP_H_

#include <sys/epoll.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::sys {

class EventLoop {
 public:
  // `events` are the EPOLL* bits that occurred; EPOLLERR and EPOLLHUP come without being asked for.
  using FdCallback = absl::AnyInvocable<void(uint32_t events)>;
  using Callback = absl::AnyInvocable<void()>;
  // Never 0 and never used twice in a loop's life.
  using TimerId = uint64_t;

  // Fails when the process or the system is out of descriptors.
  static absl::StatusOr<std::unique_ptr<EventLoop>> Create();
  // Callbacks that are still registered are destroyed uncalled. Descriptors that were added stay open.
  ~EventLoop();
  EventLoop(const EventLoop&) = delete;
  EventLoop& operator=(const EventLoop&) = delete;

  // Watches `fd` for `events` (EPOLLIN, EPOLLOUT, EPOLLET, ...). The descriptor stays the caller's, and must
  // be removed before it is closed. Errors: ALREADY_EXISTS if it is watched, epoll_ctl's (a regular file:
  // EPERM).
  absl::Status Add(int fd, uint32_t events, FdCallback callback);
  // Replaces the set of events. NOT_FOUND if `fd` is not watched.
  absl::Status Modify(int fd, uint32_t events);
  // Stops watching; nothing happens if `fd` is not watched.
  void Remove(int fd);

  // Calls `callback` once, `delay` (0 and less: at the next turn) from now. Timers that are due together run
  // in the order of their deadlines, then of their creation. absl::InfiniteDuration() is a timer that never
  // fires.
  TimerId RunAfter(absl::Duration delay, Callback callback);
  // False if it has run, runs now, or was cancelled.
  bool Cancel(TimerId id);

  // Calls `callback` on the loop's thread, in the order of the Post calls. Any thread; before Run too.
  // Callbacks posted to a loop that never runs again are destroyed with it.
  void Post(Callback callback);

  // Runs until Stop(). An error is epoll_wait's own and leaves the loop usable.
  absl::Status Run();
  // One turn: waits up to `timeout` for something to do, and does what is due. For tests and for programs
  // that have a loop of their own.
  absl::Status RunOnce(absl::Duration timeout);
  // Makes Run() return when this turn's callbacks are done; without effect before Run(). On the loop's
  // thread; from others: Post a Stop.
  void Stop() { stopped_ = true; }

  // Descriptors watched and timers pending: for tests and for "may this process end?".
  size_t watched() const { return watches_.size(); }
  size_t timers() const { return timers_.size(); }

 private:
  struct Watch {
    int fd;
    bool removed = false;
    FdCallback callback;
  };

  EventLoop(UniqueFd epoll, UniqueFd wakeup);
  absl::Status WaitAndDispatch(int timeout_millis);
  void RunDueTimers();
  void RunPosted();
  int TimeoutMillis(absl::Duration limit) const;

  const UniqueFd epoll_;
  const UniqueFd wakeup_;  // an eventfd, readable while something is posted
  bool stopped_ = false;
  std::map<int, std::unique_ptr<Watch>> watches_;
  std::vector<std::unique_ptr<Watch>> removed_;  // may still be named by collected events or be running
  std::map<std::pair<int64_t, TimerId>, Callback> timers_;  // by deadline in nanoseconds
  std::map<TimerId, int64_t> deadlines_;                    // the way back into timers_, for Cancel
  TimerId next_timer_ = 1;

  std::mutex mutex_;  // guards posted_ (absl::Mutex would bring its deadlock graph into the static shim)
  std::vector<Callback> posted_;
};

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_EVENT_LOOP_H_
