// What the child and its parent tell each other: fixed-size messages over a SOCK_SEQPACKET socket, made and read
// without allocating.
//
//   child -> parent   kHooks      all namespaces and mounts stand: run the host's hooks, answer kGo
//                     kTerminal   with the master's descriptor
//                     kRoot       with a descriptor of the root mount (only after MountRootByPath)
//                     kWarning    something was left out: `step` and `detail` say what
//                     kReady      waits for start
//                     kAccepted   the order to start was taken (or, with exec: execve is next). When the socket
//                                 then closes without kFailed, the program runs
//                     kFailed     the step that failed; the child ends
//   parent -> child   kGo         the id maps are written; the hooks have run
//                     kStart      start
//
// The start conversation (kStart, kAccepted, kFailed) goes over the same socket, or over one connection to the
// socket on which the child listens.
#ifndef GANTRY_RUNTIME_LINUX_MESSAGE_H_
#define GANTRY_RUNTIME_LINUX_MESSAGE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace gantry::linux {

enum class MessageKind : uint32_t {
  kHooks = 1,
  kTerminal,
  kRoot,
  kWarning,
  kReady,
  kAccepted,
  kFailed,
  kGo,
  kStart,
};

enum class Failure : uint32_t {
  kErrno,            // a system call
  kProgramNotFound,  // `detail` is the name of the program
  kProgramDenied,
  kOther,  // `step` and `detail` say it all
};

struct Message {
  MessageKind kind = MessageKind::kGo;
  Failure failure = Failure::kErrno;
  int32_t error = 0;  // errno
  char step[60] = {};
  char detail[448] = {};
};

// The error that a kFailed message means: "step detail: Invalid argument", or exec's own wording.
absl::Status StatusOf(const Message& message);

// The text that a kWarning message stands for.
std::string WarningOf(const Message& message);

// 0 or errno. Receive: EPIPE when the peer closed, EBADMSG for what is no message, EAGAIN on a non-blocking
// socket. Async-signal-safe. `fd` may be null; otherwise it is -1 or a received descriptor.
int SendMessage(int socket, const Message& message, int fd = -1);
// Waits until the peer has closed; messages that come meanwhile wake nobody. Async-signal-safe.
void AwaitHangup(int socket);
int ReceiveMessage(int socket, Message* message, int* fd, bool nonblocking = false);

}  // namespace gantry::linux

#endif  // GANTRY_RUNTIME_LINUX_MESSAGE_H_
