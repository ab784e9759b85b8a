#include "snapshotter/diff/read_ahead.h"

#include <deque>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace gantry::diff {

struct ReadAhead::State {
  explicit State(std::unique_ptr<Source> source) : from(std::move(source)) {}

  absl::Mutex mutex;
  const std::unique_ptr<Source> from;  // used by whoever set `producing`
  bool producing ABSL_GUARDED_BY(mutex) = false;
  bool scheduled ABSL_GUARDED_BY(mutex) = false;  // the executor has our work, or runs it
  bool stopped ABSL_GUARDED_BY(mutex) = false;
  bool ended ABSL_GUARDED_BY(mutex) = false;  // `end` tells how
  absl::Status end ABSL_GUARDED_BY(mutex);
  std::deque<std::string> ready ABSL_GUARDED_BY(mutex);
  std::vector<std::string> spare ABSL_GUARDED_BY(mutex);  // buffers to use again

  // Makes one piece. `producing` is the caller's; the mutex is released meanwhile.
  void ProduceOne() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    std::string piece;
    if (!spare.empty()) {
      piece = std::move(spare.back());
      spare.pop_back();
    }
    mutex.Unlock();
    const absl::StatusOr<absl::string_view> made = from->Next();
    if (made.ok()) piece.assign(made->data(), made->size());
    mutex.Lock();
    if (made.ok() && !made->empty()) {
      ready.push_back(std::move(piece));
    } else {
      ended = true;
      end = made.status();
    }
  }

  // On the executor's thread: until there is enough, or someone else is at it.
  void RunAhead() {
    absl::MutexLock lock(&mutex);
    while (!stopped && !ended && !producing && ready.size() < kReadAheadChunks) {
      producing = true;
      ProduceOne();
      producing = false;
    }
    scheduled = false;
  }

  bool SomethingToDo() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return !ready.empty() || ended || !producing;
  }
};

ReadAhead::ReadAhead(std::unique_ptr<Source> from, Executor executor)
    : state_(std::make_shared<State>(std::move(from))), executor_(std::move(executor)) {}

ReadAhead::~ReadAhead() {
  absl::MutexLock lock(&state_->mutex);
  state_->stopped = true;
}

absl::StatusOr<absl::string_view> ReadAhead::Next() {
  State& state = *state_;
  bool schedule = false;
  {
    absl::MutexLock lock(&state.mutex);
    if (current_.capacity() > 0) state.spare.push_back(std::move(current_));
    current_.clear();
    for (;;) {
      state.mutex.Await(absl::Condition(&state, &State::SomethingToDo));
      if (!state.ready.empty() || state.ended) break;
      state.producing = true;
      state.ProduceOne();
      state.producing = false;
    }
    if (state.ready.empty()) {
      if (!state.end.ok()) return state.end;
      return absl::string_view();
    }
    current_ = std::move(state.ready.front());
    state.ready.pop_front();
    schedule = executor_ && !state.scheduled && !state.ended && state.ready.size() < kReadAheadChunks / 2;
    if (schedule) state.scheduled = true;
  }
  if (schedule) executor_([state = state_] { state->RunAhead(); });
  return absl::string_view(current_);
}

}  // namespace gantry::diff
