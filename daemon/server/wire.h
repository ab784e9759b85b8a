// Puts a FrameFilter between gRPC and the sockets of its clients.
//
// gRPC's C core has no place for that: a connection is a descriptor, on which it calls recvmsg, sendmsg and close, and a
// proxy before it would copy every byte twice and wake a thread for each message. So these three functions of the C library
// are our own in gantryd: for the descriptors named here they filter, for all others they are what they were. What needs no
// change is read straight into gRPC's buffers and written straight from them.
//
// Thread-safe.
#ifndef GANTRY_DAEMON_SERVER_WIRE_H_
#define GANTRY_DAEMON_SERVER_WIRE_H_

#include <cstdint>

namespace gantry::server {

// From now until it is closed, `fd` (a connected, non-blocking stream socket that is about to be given to gRPC) is filtered.
// Descriptors beyond 65,535 are not.
void FilterConnection(int fd, uint32_t max_message_bytes);

}  // namespace gantry::server

#endif  // GANTRY_DAEMON_SERVER_WIRE_H_
