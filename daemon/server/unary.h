// The two ways to serve a unary call; include service.h.
#ifndef GANTRY_DAEMON_SERVER_UNARY_H_
#define GANTRY_DAEMON_SERVER_UNARY_H_

#include <grpcpp/support/server_callback.h>

#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "daemon/server/call_context.h"
#include "daemon/server/status.h"
#include "daemon/server/worker_pool.h"

namespace gantry::server {

// Runs `handler`, an absl::Status(const CallContext&, const Request&, Response*), on `pool` and finishes the
// call with what it returns. With pool == nullptr it runs at once on gRPC's thread: only for work that never
// blocks. The handler captures what it needs beyond its arguments, usually `this` of the service.
template <typename Request, typename Response, typename Handler>
grpc::ServerUnaryReactor* RunUnary(WorkerPool* pool, grpc::CallbackServerContext* context, NamespaceRule rule,
                                   const Request* request, Response* response, Handler handler) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  absl::StatusOr<CallContext> call = ReadCallContext(*context, rule);
  if (!call.ok()) {
    reactor->Finish(ToGrpcStatus(call.status()));
    return reactor;
  }
  auto work = [reactor, request, response, call = *std::move(call), handler = std::move(handler)]() mutable {
    reactor->Finish(ToGrpcStatus(handler(call, *request, response)));
  };
  if (pool == nullptr) {
    work();
  } else {
    pool->Submit(std::move(work));
  }
  return reactor;
}

namespace internal {

// The reactor of RunAsync and the state it shares with the Replies. Whoever takes `live_` away (a reply, or
// the client's cancellation) finishes the call; all later ones find null and do nothing.
template <typename Response>
class AsyncCall {
 public:
  class Reactor : public grpc::ServerUnaryReactor {
   public:
    explicit Reactor(std::shared_ptr<AsyncCall> call) : call_(std::move(call)) {}
    void OnCancel() override { call_->Cancel(); }
    void OnDone() override { delete this; }

   private:
    const std::shared_ptr<AsyncCall> call_;
  };

  static grpc::ServerUnaryReactor* Start(std::shared_ptr<AsyncCall> call, Response* response) {
    auto* reactor = new Reactor(call);
    absl::MutexLock lock(&call->mutex_);
    call->live_ = reactor;
    call->response_ = response;
    return reactor;
  }

  void Finish(absl::StatusOr<Response> result) {
    grpc::ServerUnaryReactor* reactor = Take();
    if (reactor == nullptr) return;
    if (result.ok()) *response_ = *std::move(result);
    reactor->Finish(ToGrpcStatus(result.status()));
  }

  void OnCancel(absl::AnyInvocable<void()> callback) {
    {
      absl::MutexLock lock(&mutex_);
      if (!cancelled_) {
        on_cancel_ = std::move(callback);
        return;
      }
    }
    callback();
  }

 private:
  grpc::ServerUnaryReactor* Take() {
    absl::MutexLock lock(&mutex_);
    return std::exchange(live_, nullptr);
  }

  void Cancel() {
    absl::AnyInvocable<void()> callback;
    {
      absl::MutexLock lock(&mutex_);
      if (live_ == nullptr) return;  // answered already
      cancelled_ = true;
      callback = std::move(on_cancel_);
    }
    if (callback) callback();
    Finish(absl::CancelledError("the client cancelled the call"));
  }

  absl::Mutex mutex_;
  grpc::ServerUnaryReactor* live_ ABSL_GUARDED_BY(mutex_) = nullptr;
  Response* response_ = nullptr;  // written by the one that took live_
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  absl::AnyInvocable<void()> on_cancel_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace internal

// The right to answer a call of RunAsync, once. Copyable, thread-safe. The first call of any copy answers;
// later ones, and those after the client went away, do nothing. When the last copy dies unused, the call is
// answered with INTERNAL, so that no client waits for ever.
template <typename Response>
class Reply {
 public:
  explicit Reply(std::shared_ptr<internal::AsyncCall<Response>> call)
      : guard_(std::make_shared<Guard>(std::move(call))) {}

  void operator()(absl::StatusOr<Response> result) const { guard_->call->Finish(std::move(result)); }

  // `callback` runs once, on a thread of gRPC, when the client goes away before the answer (at once if it
  // already did). It must not block, and not keep a copy of this Reply. One callback at most.
  void OnCancel(absl::AnyInvocable<void()> callback) const { guard_->call->OnCancel(std::move(callback)); }

 private:
  struct Guard {
    explicit Guard(std::shared_ptr<internal::AsyncCall<Response>> c) : call(std::move(c)) {}
    ~Guard() { call->Finish(absl::InternalError("the daemon dropped the call without an answer")); }
    const std::shared_ptr<internal::AsyncCall<Response>> call;
  };
  std::shared_ptr<Guard> guard_;
};

// Calls `handler`, a void(const CallContext&, const Request&, Reply<Response>), at once on gRPC's thread; it
// must not block, and answers whenever it can, from any thread. The request is valid until the handler
// returns.
template <typename Request, typename Response, typename Handler>
grpc::ServerUnaryReactor* RunAsync(grpc::CallbackServerContext* context, NamespaceRule rule,
                                   const Request* request, Response* response, Handler handler) {
  absl::StatusOr<CallContext> call = ReadCallContext(*context, rule);
  auto state = std::make_shared<internal::AsyncCall<Response>>();
  grpc::ServerUnaryReactor* reactor = internal::AsyncCall<Response>::Start(state, response);
  Reply<Response> reply(std::move(state));
  if (call.ok()) {
    handler(*call, *request, std::move(reply));
  } else {
    reply(call.status());
  }
  return reactor;
}

}  // namespace gantry::server

#endif  // GANTRY_DAEMON_SERVER_UNARY_H_
