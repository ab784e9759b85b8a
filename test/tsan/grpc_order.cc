// Shows ThreadSanitizer the order in which gRPC hands a call from thread to thread. Debian's gRPC is built without it, and
// does so by atomics, which are not seen. But no call gets from one thread to another without passing one of gRPC's locks, its
// queues or the functions below on either side: all of these together count as one lock.
//
// What hides behind that are two accesses of ours of which the first is followed, and the second preceded, by gRPC's work
// in between; handlers that overlap are seen (handler_race_test.cc). Linked into the programs of the tsan preset that have
// gRPC.
#include <grpc/grpc.h>

#include "test/tsan/order.h"

namespace gantry::tsan {
namespace {

void Enter() { __tsan_release(&all_of_grpc); }
void Leave() { __tsan_acquire(&all_of_grpc); }

}  // namespace
}  // namespace gantry::tsan

using gantry::tsan::Enter;
using gantry::tsan::Leave;
using gantry::tsan::Next;

extern "C" grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops, size_t count, void* tag,
                                                 void* reserved) {
  static const Next<grpc_call_error, grpc_call*, const grpc_op*, size_t, void*, void*> next(
      "grpc_call_start_batch");
  Enter();
  return next(call, ops, count, tag, reserved);
}

extern "C" grpc_call_error grpc_server_request_registered_call(
    grpc_server* server, void* method, grpc_call** call, gpr_timespec* deadline,
    grpc_metadata_array* metadata, grpc_byte_buffer** payload, grpc_completion_queue* bound,
    grpc_completion_queue* notification, void* tag) {
  static const Next<grpc_call_error, grpc_server*, void*, grpc_call**, gpr_timespec*, grpc_metadata_array*,
                    grpc_byte_buffer**, grpc_completion_queue*, grpc_completion_queue*, void*>
      next("grpc_server_request_registered_call");
  Enter();
  return next(server, method, call, deadline, metadata, payload, bound, notification, tag);
}

// gRPC's own headers of these are not installed; the names are those of its symbols.
namespace grpc_core {

class ExecCtx {
 public:
  bool Flush();
};

bool ExecCtx::Flush() {
  static const Next<bool, ExecCtx*> next("_ZN9grpc_core7ExecCtx5FlushEv");
  Enter();
  const bool done = next(this);
  Leave();
  return done;
}

class MultiProducerSingleConsumerQueue {
 public:
  struct Node;
  bool Push(Node* node);
  Node* Pop();
  Node* PopAndCheckEnd(bool* empty);
};

bool MultiProducerSingleConsumerQueue::Push(Node* node) {
  static const Next<bool, MultiProducerSingleConsumerQueue*, Node*> next(
      "_ZN9grpc_core32MultiProducerSingleConsumerQueue4PushEPNS0_4NodeE");
  Enter();
  return next(this, node);
}

MultiProducerSingleConsumerQueue::Node* MultiProducerSingleConsumerQueue::Pop() {
  static const Next<Node*, MultiProducerSingleConsumerQueue*> next(
      "_ZN9grpc_core32MultiProducerSingleConsumerQueue3PopEv");
  Node* const node = next(this);
  Leave();
  return node;
}

MultiProducerSingleConsumerQueue::Node* MultiProducerSingleConsumerQueue::PopAndCheckEnd(bool* empty) {
  static const Next<Node*, MultiProducerSingleConsumerQueue*, bool*> next(
      "_ZN9grpc_core32MultiProducerSingleConsumerQueue14PopAndCheckEndEPb");
  Node* const node = next(this, empty);
  Leave();
  return node;
}

}  // namespace grpc_core
