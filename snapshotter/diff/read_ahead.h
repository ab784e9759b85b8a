// Lets a source be read on another thread while what it gave is worked on: inflating beside unpacking.
//
// The other thread is borrowed from an executor, and nothing waits for it: whoever needs bytes that nobody is making
// makes them itself. So it cannot deadlock on a pool whose threads all unpack layers, it only goes slower. At most
// kReadAheadChunks pieces are held, so memory stays bounded.
#ifndef GANTRY_SNAPSHOTTER_DIFF_READ_AHEAD_H_
#define GANTRY_SNAPSHOTTER_DIFF_READ_AHEAD_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "snapshotter/diff/source.h"

namespace gantry::diff {

// Runs a piece of work soon, on some thread; may be full and take long.
using Executor = std::function<void(std::function<void()>)>;

inline constexpr size_t kReadAheadChunks = 8;

// Next is for one thread at a time, as with every source. `from` is used by one thread at a time, and lives until the
// executor is done with it, which may be a moment after this object is gone.
class ReadAhead final : public Source {
 public:
  ReadAhead(std::unique_ptr<Source> from, Executor executor);
  ~ReadAhead() override;
  absl::StatusOr<absl::string_view> Next() override;

 private:
  struct State;
  const std::shared_ptr<State> state_;
  const Executor executor_;
  std::string current_;
};

}  // namespace gantry::diff

#endif  // GANTRY_SNAPSHOTTER_DIFF_READ_AHEAD_H_
