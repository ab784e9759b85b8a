#include "runtime/sys/event_loop.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/status.h"

namespace gantry::sys {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max();
constexpr int kEventsPerTurn = 32;  // more wait in the kernel for the next turn

int64_t DeadlineNanos(absl::Duration delay) {
  const int64_t now = MonotonicNanos();
  if (delay <= absl::ZeroDuration()) return now;
  const int64_t nanos = absl::ToInt64Nanoseconds(delay);  // saturates
  return nanos >= kNever - now ? kNever : now + nanos;
}

// In epoll_wait's milliseconds, rounded up so that a timer is due when the wait returns.
int CeilMillis(int64_t nanos) {
  if (nanos <= 0) return 0;
  const int64_t millis = nanos / 1'000'000 + (nanos % 1'000'000 != 0);
  return static_cast<int>(std::min<int64_t>(millis, INT_MAX));
}

}  // namespace

absl::StatusOr<std::unique_ptr<EventLoop>> EventLoop::Create() {
  UniqueFd epoll(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return ErrnoStatus("epoll_create1", "");
  UniqueFd wakeup(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wakeup) return ErrnoStatus("eventfd", "");
  epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
  if (epoll_ctl(epoll.get(), EPOLL_CTL_ADD, wakeup.get(), &event) != 0) {
    return ErrnoStatus("epoll_ctl", "eventfd");
  }
  return std::unique_ptr<EventLoop>(new EventLoop(std::move(epoll), std::move(wakeup)));
}

EventLoop::EventLoop(UniqueFd epoll, UniqueFd wakeup)
    : epoll_(std::move(epoll)), wakeup_(std::move(wakeup)) {}

EventLoop::~EventLoop() = default;

absl::Status EventLoop::Add(int fd, uint32_t events, FdCallback callback) {
  if (watches_.contains(fd)) {
    return absl::AlreadyExistsError(absl::StrCat("event loop: descriptor ", fd, " is watched already"));
  }
  auto watch = std::make_unique<Watch>();
  watch->fd = fd;
  watch->callback = std::move(callback);
  epoll_event event{.events = events, .data = {.ptr = watch.get()}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
    return ErrnoStatus("epoll_ctl", absl::StrCat("descriptor ", fd));
  }
  watches_.emplace(fd, std::move(watch));
  return absl::OkStatus();
}

absl::Status EventLoop::Modify(int fd, uint32_t events) {
  auto found = watches_.find(fd);
  if (found == watches_.end()) {
    return absl::NotFoundError(absl::StrCat("event loop: descriptor ", fd, " is not watched"));
  }
  epoll_event event{.events = events, .data = {.ptr = found->second.get()}};
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event) != 0) {
    return ErrnoStatus("epoll_ctl", absl::StrCat("descriptor ", fd));
  }
  return absl::OkStatus();
}

void EventLoop::Remove(int fd) {
  auto found = watches_.find(fd);
  if (found == watches_.end()) return;
  epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
  found->second->removed = true;
  removed_.push_back(std::move(found->second));
  watches_.erase(found);
}

EventLoop::TimerId EventLoop::RunAfter(absl::Duration delay, Callback callback) {
  const TimerId id = next_timer_++;
  const int64_t deadline = DeadlineNanos(delay);
  timers_.emplace(std::make_pair(deadline, id), std::move(callback));
  deadlines_.emplace(id, deadline);
  return id;
}

bool EventLoop::Cancel(TimerId id) {
  auto found = deadlines_.find(id);
  if (found == deadlines_.end()) return false;
  // The callback is destroyed last: its captures may call back into the loop.
  auto timer = timers_.extract({found->second, id});
  deadlines_.erase(found);
  return true;
}

void EventLoop::Post(Callback callback) {
  bool first;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    first = posted_.empty();
    posted_.push_back(std::move(callback));
  }
  if (!first) return;
  const uint64_t one = 1;
  // Fails only when the counter is full, and then the loop is awake anyway.
  [[maybe_unused]] ssize_t written = write(wakeup_.get(), &one, sizeof(one));
}

absl::Status EventLoop::Run() {
  stopped_ = false;
  while (!stopped_) {
    GANTRY_RETURN_IF_ERROR(RunOnce(absl::InfiniteDuration()));
  }
  return absl::OkStatus();
}

absl::Status EventLoop::RunOnce(absl::Duration timeout) {
  GANTRY_RETURN_IF_ERROR(WaitAndDispatch(TimeoutMillis(timeout)));
  RunDueTimers();
  // Destroying a callback may remove further descriptors.
  auto removed = std::exchange(removed_, {});
  return absl::OkStatus();
}

int EventLoop::TimeoutMillis(absl::Duration limit) const {
  if (!removed_.empty()) limit = absl::ZeroDuration();  // their callbacks are still to be destroyed
  int64_t deadline = limit == absl::InfiniteDuration() ? kNever : DeadlineNanos(limit);
  if (!timers_.empty()) deadline = std::min(deadline, timers_.begin()->first.first);
  return deadline == kNever ? -1 : CeilMillis(deadline - MonotonicNanos());
}

absl::Status EventLoop::WaitAndDispatch(int timeout_millis) {
  epoll_event events[kEventsPerTurn];
  const int count = epoll_wait(epoll_.get(), events, kEventsPerTurn, timeout_millis);
  if (count < 0) {
    if (errno == EINTR) return absl::OkStatus();
    return ErrnoStatus("epoll_wait", "");
  }
  for (int i = 0; i < count; ++i) {
    auto* watch = static_cast<Watch*>(events[i].data.ptr);
    if (watch == nullptr) {
      RunPosted();
    } else if (!watch->removed) {
      watch->callback(events[i].events);
    }
  }
  return absl::OkStatus();
}

void EventLoop::RunDueTimers() {
  if (timers_.empty()) return;
  const int64_t now = MonotonicNanos();
  // Timers made by these callbacks wait for the next turn, or a timer that renews itself would starve the
  // rest.
  const TimerId end = next_timer_;
  while (!timers_.empty()) {
    const auto [deadline, id] = timers_.begin()->first;
    if (deadline > now || id >= end) break;
    auto timer = timers_.extract(timers_.begin());
    deadlines_.erase(id);
    timer.mapped()();
  }
}

void EventLoop::RunPosted() {
  uint64_t count;
  [[maybe_unused]] ssize_t got = read(wakeup_.get(), &count, sizeof(count));
  std::vector<Callback> posted;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    posted.swap(posted_);
  }
  for (Callback& callback : posted) callback();
}

}  // namespace gantry::sys
