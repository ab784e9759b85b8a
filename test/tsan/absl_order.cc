// Shows ThreadSanitizer the order that absl's locks make. Debian's absl is built without it, and waits with a futex, of
// which the sanitizer knows nothing: every field that an absl::Mutex guards would look like a race, ours and gRPC's alike.
// These definitions take the place of libabsl_synchronization's, for our programs and for the libraries they load; each calls
// the one that it replaces. A lock then takes over what the last unlock left, as with a pthread mutex, and no more: an
// access outside of the lock is reported as before. Linked into every program of the tsan preset.

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "test/tsan/order.h"

extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
}

namespace {

using gantry::tsan::Next;
using gantry::tsan::Order;

// A waiter's condition is evaluated inside of absl's unlocking and waiting: by then the sanitizer believes the lock given
// up, though it is held.
class Evaluating {
 public:
  Evaluating() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__); }
  ~Evaluating() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
};

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() {
  const Order order(this, __builtin_return_address(0));
  order.Enter();
  static const Next<void, Mutex*> next("_ZN4absl7debian35Mutex4LockEv");
  next(this);
  order.Acquire();
}

void Mutex::Unlock() {
  const Order order(this, __builtin_return_address(0));
  static const Next<void, Mutex*> next("_ZN4absl7debian35Mutex6UnlockEv");
  order.Release();
  const Evaluating conditions;
  next(this);
}

bool Mutex::TryLock() {
  const Order order(this, __builtin_return_address(0));
  order.Enter();
  static const Next<bool, Mutex*> next("_ZN4absl7debian35Mutex7TryLockEv");
  const bool locked = next(this);
  if (locked) order.Acquire();
  return locked;
}

void Mutex::ReaderLock() {
  const Order order(this, __builtin_return_address(0));
  order.Enter();
  static const Next<void, Mutex*> next("_ZN4absl7debian35Mutex10ReaderLockEv");
  next(this);
  order.Acquire();
}

void Mutex::ReaderUnlock() {
  const Order order(this, __builtin_return_address(0));
  static const Next<void, Mutex*> next("_ZN4absl7debian35Mutex12ReaderUnlockEv");
  order.Release();
  const Evaluating conditions;
  next(this);
}

bool Mutex::ReaderTryLock() {
  const Order order(this, __builtin_return_address(0));
  order.Enter();
  static const Next<bool, Mutex*> next("_ZN4absl7debian35Mutex13ReaderTryLockEv");
  const bool locked = next(this);
  if (locked) order.Acquire();
  return locked;
}

void Mutex::Await(const Condition& condition) {
  const Order order(this, __builtin_return_address(0));
  static const Next<void, Mutex*, const Condition*> next("_ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE");
  order.Release();
  {
    const Evaluating conditions;
    next(this, &condition);
  }
  order.Acquire();
}

void Mutex::LockWhen(const Condition& condition) {
  const Order order(this, __builtin_return_address(0));
  order.Enter();
  static const Next<void, Mutex*, const Condition*> next("_ZN4absl7debian35Mutex8LockWhenERKNS0_9ConditionE");
  {
    const Evaluating conditions;
    next(this, &condition);
  }
  order.Acquire();
}

bool Mutex::LockWhenWithDeadline(const Condition& condition, Time deadline) {
  const Order order(this, __builtin_return_address(0));
  order.Enter();
  static const Next<bool, Mutex*, const Condition*, Time> next(
      "_ZN4absl7debian35Mutex20LockWhenWithDeadlineERKNS0_9ConditionENS0_4TimeE");
  bool held = false;
  {
    const Evaluating conditions;
    held = next(this, &condition, deadline);
  }
  order.Acquire();
  return held;
}

bool Mutex::LockWhenWithTimeout(const Condition& condition, Duration timeout) {
  const Order order(this, __builtin_return_address(0));
  order.Enter();
  static const Next<bool, Mutex*, const Condition*, Duration> next(
      "_ZN4absl7debian35Mutex19LockWhenWithTimeoutERKNS0_9ConditionENS0_8DurationE");
  bool held = false;
  {
    const Evaluating conditions;
    held = next(this, &condition, timeout);
  }
  order.Acquire();
  return held;
}

void CondVar::Wait(Mutex* mutex) {
  const Order order(mutex, __builtin_return_address(0));
  static const Next<void, CondVar*, Mutex*> next("_ZN4absl7debian37CondVar4WaitEPNS0_5MutexE");
  order.Release();
  {
    const Evaluating conditions;
    next(this, mutex);
  }
  order.Acquire();
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  const Order order(mutex, __builtin_return_address(0));
  static const Next<bool, CondVar*, Mutex*, Duration> next(
      "_ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE");
  order.Release();
  bool timed_out = false;
  {
    const Evaluating conditions;
    timed_out = next(this, mutex, timeout);
  }
  order.Acquire();
  return timed_out;
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  const Order order(mutex, __builtin_return_address(0));
  static const Next<bool, CondVar*, Mutex*, Time> next(
      "_ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
  order.Release();
  bool timed_out = false;
  {
    const Evaluating conditions;
    timed_out = next(this, mutex, deadline);
  }
  order.Acquire();
  return timed_out;
}

void Notification::Notify() {
  static const Next<void, Notification*> next("_ZN4absl7debian312Notification6NotifyEv");
  __tsan_release(this);
  next(this);
}

void Notification::WaitForNotification() const {
  static const Next<void, const Notification*> next("_ZNK4absl7debian312Notification19WaitForNotificationEv");
  next(this);
  __tsan_acquire(const_cast<Notification*>(this));
}

bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  static const Next<bool, const Notification*, Duration> next(
      "_ZNK4absl7debian312Notification30WaitForNotificationWithTimeoutENS0_8DurationE");
  const bool notified = next(this, timeout);
  __tsan_acquire(const_cast<Notification*>(this));
  return notified;
}

ABSL_NAMESPACE_END
}  // namespace absl
