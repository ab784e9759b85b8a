// One ttrpc connection on an event loop, server's or client's: bytes in to frames, frames out to bytes.
//
// Writes go straight to the socket; what does not fit waits in a queue, which is given back when it is empty.
// Thread safety: the loop's thread only. Held by shared_ptr, because a callback may drop its owner.
#ifndef GANTRY_API_TTRPC_CONNECTION_H_
#define GANTRY_API_TTRPC_CONNECTION_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "api/ttrpc/frame.h"
#include "runtime/sys/event_loop.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::ttrpc {

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  // Both are called from the loop only, and not after Close(): a connection that closes itself inside Send
  // tells so in the next turn.
  struct Callbacks {
    absl::AnyInvocable<void(Frame)> on_frame = {};
    absl::AnyInvocable<void(absl::Status reason)> on_close = {};  // once; the descriptor is closed by then
    absl::AnyInvocable<void()> on_drained = {};                   // the queue became empty
  };
  struct Limits {
    size_t pause_above_bytes;  // of queued output: input is left in the socket until half of it is written
    size_t max_queue_bytes;    // of queued output: the connection is closed
  };

  // Makes `fd` non-blocking and starts to read from it. The callbacks are destroyed with the connection's
  // closing.
  static absl::StatusOr<std::shared_ptr<Connection>> Start(sys::EventLoop* loop, sys::UniqueFd fd,
                                                           Limits limits, Callbacks callbacks);
  ~Connection();

  // Sends or queues one frame. `data` is at most kMaxDataBytes. Nothing happens on a closed connection.
  void Send(uint32_t stream, uint8_t type, uint8_t flags, absl::string_view data);
  // Closes at once, without a callback.
  void Close();

  bool closed() const { return !fd_.valid(); }
  size_t queued_bytes() const { return queue_.size() - written_; }
  int fd() const { return fd_.get(); }

 private:
  Connection(sys::EventLoop* loop, sys::UniqueFd fd, Limits limits, Callbacks callbacks);
  void OnReady(uint32_t events);
  void Read();
  bool DeliverFrames();
  void Write();
  void UpdateInterest();
  // Closes and tells why: now (from the loop's callbacks), or in the loop's next turn.
  void Fail(absl::Status reason);
  void FailLater(absl::Status reason);

  sys::EventLoop* const loop_;
  sys::UniqueFd fd_;
  const Limits limits_;
  Callbacks callbacks_;
  FrameDecoder decoder_;
  std::string queue_;
  size_t written_ = 0;  // of queue_
  uint32_t interest_ = 0;
  bool paused_ = false;
  bool failing_ = false;
};

}  // namespace gantry::ttrpc

#endif  // GANTRY_API_TTRPC_CONNECTION_H_
