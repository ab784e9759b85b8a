// Copies from one descriptor to another on the event loop, until the source ends.
//
// Used where the kernel cannot connect the two by itself: a terminal with its FIFOs, a pipe with a log file.
// What the sink cannot take is held back (one chunk) and the source is not read meanwhile: a reader that stalls
// stops the writer, nothing else. A sink that fails (disk full, reader gone) does not stop the source: its data
// is dropped, and Lost() tells so.
//
// Belongs to the loop's thread. `done` is called once, never from inside Create, Drain or Finish.
#ifndef GANTRY_SHIM_STDIO_PUMP_H_
#define GANTRY_SHIM_STDIO_PUMP_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/sys/event_loop.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::shim {

class Pump {
 public:
  enum class Source {
    kStream,  // a pipe or FIFO: ends with end of file
    // A pseudo-terminal's master: a hang-up is no end as long as its process lives. Its first output is shown 20 ms
    // late, or when its process ends: until then the client has time to set the terminal's size.
    kTerminal,
  };

  // Takes the descriptors, both O_NONBLOCK where they can block. A regular file as the sink is written at once
  // and never waited for.
  static absl::StatusOr<std::unique_ptr<Pump>> Create(sys::EventLoop* loop, Source kind, sys::UniqueFd source,
                                                      sys::UniqueFd sink, absl::AnyInvocable<void()> done);
  ~Pump();
  Pump(const Pump&) = delete;
  Pump& operator=(const Pump&) = delete;

  // Copies what is there now, as far as the sink takes it, without waiting.
  void Drain();
  // The source's process has ended: what is there is copied still, then the pump ends. For kTerminal; a kStream
  // ends by itself.
  void Finish();

  bool ended() const { return ended_; }
  uint64_t lost_bytes() const { return lost_; }

 private:
  Pump(sys::EventLoop* loop, Source kind, sys::UniqueFd source, sys::UniqueFd sink,
       absl::AnyInvocable<void()> done);

  enum class ReadResult { kData, kEmpty, kEnd };
  void OnReadable();
  void OnWritable();
  ReadResult ReadOnce(char* buffer, size_t size, size_t* got);
  // False when a rest was held back.
  bool Write(absl::string_view data);
  void WatchSource();
  void WatchSink();
  void Unwatch();
  void Pause(absl::Duration pause);
  void End();

  sys::EventLoop* const loop_;
  const Source kind_;
  sys::UniqueFd source_;
  sys::UniqueFd sink_;
  absl::AnyInvocable<void()> done_;
  bool sink_may_block_ = false;
  bool grown_ = false;       // the source's pipe
  bool had_output_ = false;  // from a terminal
  bool finishing_ = false;
  bool ended_ = false;
  // Only what is waited for is in the loop: a hang-up would be reported for ever otherwise.
  bool watching_source_ = false;
  bool watching_sink_ = false;
  std::string pending_;
  uint64_t lost_ = 0;
  sys::EventLoop::TimerId timer_ = 0;  // the end of a pause, or the call of done_
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_STDIO_PUMP_H_
