// HTTP/2 as clients may speak it, made into what gRPC's C core 1.51 takes. Two things it does not do:
//
//   - padding (RFC 9113, sections 6.1 and 6.2) of HEADERS and DATA ends the connection there. Here the padding is taken
//     out, and the client gets a WINDOW_UPDATE for it, as gRPC never learns of those bytes;
//   - a message larger than the limit is refused there only when all of it has come. Here the call is answered with
//     RESOURCE_EXHAUSTED as soon as the message's length is known, and gRPC is told that the client has cancelled it.
//
// A FrameFilter is one connection's state and makes no system call; wire.h puts it between gRPC and the socket. Bytes that
// need no change are only walked over, frame by frame. Whatever breaks the protocol passes unchanged: gRPC refuses it.
//
// Inbound calls by one thread at a time, outbound calls by one thread at a time; the two may run beside each other, but for
// the outbound part (Sent, TakeReplies), which a lock of the caller's guards together with Received.
#ifndef GANTRY_DAEMON_SERVER_FRAME_FILTER_H_
#define GANTRY_DAEMON_SERVER_FRAME_FILTER_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/string_view.h"

namespace gantry::server {

class FrameFilter {
 public:
  explicit FrameFilter(uint32_t max_message_bytes) : max_message_bytes_(max_message_bytes) {}

  // Takes what was read. Returns how many of the first bytes may be handed on as they are; the rest is kept, and what
  // becomes of it is appended to ready(), which is to be handed on after them.
  size_t Received(absl::string_view data);
  // The same for bytes that follow kept ones in one read: all of them are kept.
  void Keep(absl::string_view data);
  // Changed bytes that wait to be handed on. The caller takes from its front; nothing may overtake it: while it is not
  // empty, Received must not be called.
  std::string& ready() { return ready_; }

  // Notes what gRPC has written.
  void Sent(absl::string_view data);
  // Frames of our own for the client, to be written now; empty when there are none or gRPC is in the middle of a frame.
  // They must all be written before Sent is called again.
  std::string TakeReplies();

 private:
  struct Header {
    uint32_t size;
    uint8_t type, flags;
    uint32_t stream;
  };
  // Where a stream is in its messages (gRPC over HTTP/2: a byte, the length in four, the message). Absent: between two.
  struct Message {
    std::string prefix;
    uint32_t left = 0;
    bool refused = false;
  };

  static Header Parse(const char* bytes);
  static void Append(std::string* out, Header header, absl::string_view payload);

  // Walks over what needs no change: the number of those bytes.
  size_t Walk(absl::string_view data);
  // Goes on behind what Walk walked over. False: more input is needed.
  bool Change(absl::string_view* data);
  void Begin(const Header& header);
  void End();
  void Follow(absl::string_view payload);
  void Refuse(uint32_t size);

  const uint32_t max_message_bytes_;

  // Inbound.
  size_t preface_left_ = 24;      // the client's connection preface
  Header frame_ = {};             // the one whose payload comes
  size_t left_ = 0;               // of its payload
  size_t padding_left_ = 0;       // behind it
  bool inside_ = false;           // a frame has begun and not ended
  std::string carried_;           // the begin of a frame's header
  std::string ready_, inserted_;  // inserted_: frames for gRPC, at the next boundary
  absl::flat_hash_map<uint32_t, Message> messages_;

  // Outbound.
  std::string replies_;
  std::string sent_header_;
  size_t sent_left_ = 0;
  absl::flat_hash_set<uint32_t> answered_;  // streams on which gRPC has sent headers, and not the end
};

}  // namespace gantry::server

#endif  // GANTRY_DAEMON_SERVER_FRAME_FILTER_H_
