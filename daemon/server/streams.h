// The ways to serve a stream without a thread of its own; include service.h.
#ifndef GANTRY_DAEMON_SERVER_STREAMS_H_
#define GANTRY_DAEMON_SERVER_STREAMS_H_

#include <grpcpp/support/server_callback.h>

#include <deque>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "daemon/server/call_context.h"
#include "daemon/server/status.h"
#include "daemon/server/worker_pool.h"

namespace gantry::server {

// Fills the next message of a stream and returns true; false: the end, nothing was filled. Called on a
// worker, one call at a time, some messages ahead (kPullBytes) of what is on its way: a slow client holds no
// thread, only itself.
template <typename Response>
using Generator = absl::AnyInvocable<absl::StatusOr<bool>(Response*)>;

namespace internal {

// A reactor that is gone when its stream is.
template <typename Reactor>
class SelfOwned : public Reactor {
 public:
  void OnDone() override { delete this; }
};

// What is pulled from a generator at a time, and held in memory: this, and one message more.
constexpr size_t kPullMessages = 64;
constexpr size_t kPullBytes = 64 << 10;

template <typename Response>
class PullReactor : public SelfOwned<grpc::ServerWriteReactor<Response>> {
 public:
  using Open = absl::AnyInvocable<absl::StatusOr<Generator<Response>>()>;

  explicit PullReactor(WorkerPool* pool) : pool_(pool) {}

  void Start(Open open) {
    pool_->Submit([this, open = std::move(open)]() mutable {
      absl::StatusOr<Generator<Response>> generator = open();
      if (!generator.ok()) {
        this->Finish(ToGrpcStatus(generator.status()));
        return;
      }
      generator_ = *std::move(generator);
      Pull();
    });
  }

  void OnWriteDone(bool ok) override {
    if (ok) {
      WriteNext();
    } else {
      this->Finish(grpc::Status::CANCELLED);
    }
  }

 private:
  // On the pool. A record costs less than a change of threads: so many are pulled at a time.
  void Pull() {
    messages_.clear();
    next_ = 0;
    size_t bytes = 0;
    while (!end_.has_value() && messages_.size() < kPullMessages && bytes < kPullBytes) {
      Response message;
      const absl::StatusOr<bool> more = generator_(&message);
      if (more.ok() && *more) {
        bytes += message.ByteSizeLong();
        messages_.push_back(std::move(message));
      } else {
        end_ = ToGrpcStatus(more.status());
      }
    }
    WriteNext();
  }

  void WriteNext() {
    if (next_ < messages_.size()) {
      const Response& message = messages_[next_++];
      grpc::WriteOptions options;
      // The next one comes at once. But the first one takes the initial metadata along, for which gRPC waits.
      if (std::exchange(begun_, true) && next_ < messages_.size()) options.set_buffer_hint();
      this->StartWrite(&message, options);
    } else if (end_.has_value()) {
      this->Finish(*end_);
    } else {
      pool_->Submit([this] { Pull(); });
    }
  }

  WorkerPool* const pool_;
  Generator<Response> generator_;
  std::vector<Response> messages_;
  size_t next_ = 0;  // of messages_, to be written
  bool begun_ = false;
  std::optional<grpc::Status> end_;
};

}  // namespace internal

// Serves a stream of the server by pulling: `open`, an absl::StatusOr<Generator<Response>>(const
// CallContext&, const Request&), runs on `pool` (never null), then the generator for each message. The
// request is valid as long as the generator. The generator is destroyed when the stream ends, whoever ended
// it.
template <typename Request, typename Response, typename Open>
grpc::ServerWriteReactor<Response>* RunPullStream(WorkerPool* pool, grpc::CallbackServerContext* context,
                                                  NamespaceRule rule, const Request* request, Open open) {
  auto* reactor = new internal::PullReactor<Response>(pool);
  absl::StatusOr<CallContext> call = ReadCallContext(*context, rule);
  if (!call.ok()) {
    reactor->Finish(ToGrpcStatus(call.status()));
    return reactor;
  }
  reactor->Start(
      [request, call = *std::move(call), open = std::move(open)]() mutable { return open(call, *request); });
  return reactor;
}

// The sending end of a stream into which others push: a bounded queue. Thread-safe. A client that does not
// read is cut off when the queue is full: the stream ends with RESOURCE_EXHAUSTED, what was queued is
// dropped, and the pushers never wait. Made by StartPushStream.
template <typename Message>
class PushStream {
 public:
  // False when the stream has ended (the client left, it was closed, or this very message was one too many).
  bool Push(std::shared_ptr<const Message> message) {
    absl::MutexLock lock(&mutex_);
    if (reactor_ == nullptr) return false;
    if (queue_.size() >= limit_) {
      FinishLocked(absl::ResourceExhaustedError(
          absl::StrCat("the client fell behind: ", limit_,
                       " messages were waiting for it; subscribe again and read faster")));
      return false;
    }
    queue_.push_back(std::move(message));
    if (!writing_) WriteLocked();
    return true;
  }

  // Ends the stream; what is queued is dropped.
  void Close(const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    FinishLocked(status);
  }

  bool open() const {
    absl::MutexLock lock(&mutex_);
    return reactor_ != nullptr;
  }

  class Reactor : public grpc::ServerWriteReactor<Message> {
   public:
    Reactor(std::shared_ptr<PushStream> stream, absl::AnyInvocable<void()> on_end)
        : stream_(std::move(stream)), on_end_(std::move(on_end)) {}
    void OnWriteDone(bool ok) override { stream_->Written(ok); }
    void OnCancel() override { stream_->Close(absl::CancelledError("the client cancelled the stream")); }
    void OnDone() override {
      if (on_end_) on_end_();
      delete this;
    }

   private:
    const std::shared_ptr<PushStream> stream_;
    absl::AnyInvocable<void()> on_end_;
  };

  explicit PushStream(size_t limit) : limit_(limit) {}
  void Attach(Reactor* reactor) {
    absl::MutexLock lock(&mutex_);
    reactor_ = reactor;
  }

 private:
  // gRPC never runs a reaction inside StartWrite or Finish, so both may be called under the lock; that keeps
  // a write from following the finish of another thread.
  void WriteLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    writing_ = true;
    reactor_->StartWrite(queue_.front().get());
  }

  void FinishLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (reactor_ == nullptr) return;
    // The message being written must outlive its write.
    if (writing_) in_flight_ = std::move(queue_.front());
    queue_.clear();
    std::exchange(reactor_, nullptr)->Finish(ToGrpcStatus(status));
  }

  void Written(bool ok) {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    in_flight_.reset();
    if (reactor_ == nullptr) return;
    queue_.pop_front();
    if (!ok) {
      FinishLocked(absl::CancelledError("the client left"));
    } else if (!queue_.empty()) {
      WriteLocked();
    }
  }

  const size_t limit_;
  mutable absl::Mutex mutex_;
  Reactor* reactor_ ABSL_GUARDED_BY(mutex_) = nullptr;  // null once finished
  std::deque<std::shared_ptr<const Message>> queue_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const Message> in_flight_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
};

template <typename Message>
struct StartedPushStream {
  grpc::ServerWriteReactor<Message>* reactor;  // what the service method returns
  std::shared_ptr<PushStream<Message>> stream;
};

// Makes a push stream of at most `limit` queued messages. `on_end` runs once on a thread of gRPC when the
// stream is over, whoever ended it; it must not block.
template <typename Message>
StartedPushStream<Message> StartPushStream(size_t limit, absl::AnyInvocable<void()> on_end) {
  auto stream = std::make_shared<PushStream<Message>>(limit);
  auto* reactor = new typename PushStream<Message>::Reactor(stream, std::move(on_end));
  stream->Attach(reactor);
  return {reactor, std::move(stream)};
}

// What to do after a request of an exchange was handled.
enum class ExchangeStep { kReply, kReplyAndFinish, kContinue };

// One bidirectional stream in which requests are handled strictly one after the other (content's Write).
// Called on a worker, never by two threads at once. Destroyed when the stream ends, whoever ended it: the
// place to release what the stream held.
template <typename Request, typename Response>
class Exchange {
 public:
  virtual ~Exchange() = default;
  // `response` is empty; it is sent with kReply and kReplyAndFinish. An error ends the stream.
  virtual absl::StatusOr<ExchangeStep> OnRequest(const Request& request, Response* response) = 0;
  // The client has sent its last request; what is returned ends the stream. Not called after an error, a
  // cancellation or kReplyAndFinish. Runs on gRPC's thread: must not block.
  virtual absl::Status OnHalfClose() { return absl::OkStatus(); }
};

namespace internal {

template <typename Request, typename Response>
class ExchangeReactor : public SelfOwned<grpc::ServerBidiReactor<Request, Response>> {
 public:
  ExchangeReactor(WorkerPool* pool, std::unique_ptr<Exchange<Request, Response>> exchange)
      : pool_(pool), exchange_(std::move(exchange)) {}

  void Start() { this->StartRead(&request_); }

  void OnReadDone(bool ok) override {
    if (!ok) {
      const absl::Status status = exchange_->OnHalfClose();
      exchange_.reset();  // what it held is free when the client learns of the end
      this->Finish(ToGrpcStatus(status));
    } else {
      pool_->Submit([this] { Handle(); });
    }
  }

  void OnWriteDone(bool ok) override {
    if (finishing_) return;
    if (!ok) {
      this->Finish(grpc::Status::CANCELLED);
    } else {
      this->StartRead(&request_);
    }
  }

 private:
  void Handle() {
    response_.Clear();
    absl::StatusOr<ExchangeStep> step = exchange_->OnRequest(request_, &response_);
    if (!step.ok()) {
      this->Finish(ToGrpcStatus(step.status()));
    } else if (*step == ExchangeStep::kReply) {
      this->StartWrite(&response_);
    } else if (*step == ExchangeStep::kContinue) {
      this->StartRead(&request_);
    } else {
      finishing_ = true;
      this->StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
    }
  }

  WorkerPool* const pool_;
  std::unique_ptr<Exchange<Request, Response>> exchange_;
  Request request_;
  Response response_;
  bool finishing_ = false;  // ordered by gRPC: set before the write whose completion reads it
};

template <typename Request, typename Response>
class RefusedExchange : public SelfOwned<grpc::ServerBidiReactor<Request, Response>> {
 public:
  explicit RefusedExchange(const absl::Status& status) { this->Finish(ToGrpcStatus(status)); }
};

}  // namespace internal

// Serves an exchange: `open` is a std::unique_ptr<Exchange<Request, Response>>(const CallContext&), called at
// once.
template <typename Request, typename Response, typename Open>
grpc::ServerBidiReactor<Request, Response>* RunExchange(WorkerPool* pool,
                                                        grpc::CallbackServerContext* context,
                                                        NamespaceRule rule, Open open) {
  absl::StatusOr<CallContext> call = ReadCallContext(*context, rule);
  if (!call.ok()) return new internal::RefusedExchange<Request, Response>(call.status());
  auto* reactor = new internal::ExchangeReactor<Request, Response>(pool, open(*call));
  reactor->Start();
  return reactor;
}

}  // namespace gantry::server

#endif  // GANTRY_DAEMON_SERVER_STREAMS_H_
