// The server and the helpers of service.h, over a real unix socket.
#include "daemon/server/server.h"

#include <gmock/gmock.h>
#include <google/protobuf/any.pb.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/security/credentials.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "api/proto/containerd/services/content/v1/content.grpc.pb.h"
#include "api/proto/containerd/services/events/v1/events.grpc.pb.h"
#include "api/proto/containerd/services/streaming/v1/streaming.grpc.pb.h"
#include "api/proto/containerd/services/tasks/v1/tasks.grpc.pb.h"
#include "api/proto/grpc/health/v1/health.grpc.pb.h"
#include "daemon/server/service.h"
#include "runtime/sys/file.h"

namespace gantry::server {
namespace {

namespace content = containerd::services::content::v1;
namespace events = containerd::services::events::v1;
namespace streaming = containerd::services::streaming::v1;
namespace tasks = containerd::services::tasks::v1;
using containerd::types::Envelope;
using google::protobuf::Any;
using testing::HasSubstr;

class TestTasks final : public tasks::Tasks::CallbackService {
 public:
  explicit TestTasks(WorkerPool* pool) : pool_(pool) {}
  grpc::ServerUnaryReactor* Get(grpc::CallbackServerContext* context, const tasks::GetRequest* request,
                                tasks::GetResponse* response) override {
    return RunUnary(
        pool_, context, NamespaceRule::kRequired, request, response,
        [](const CallContext& call, const tasks::GetRequest& request, tasks::GetResponse* response) {
          if (request.container_id() == "none") return absl::NotFoundError("no task \"none\"\xff");
          response->mutable_process()->set_id(absl::StrCat(call.ns, "/", request.container_id()));
          return absl::OkStatus();
        });
  }
  grpc::ServerUnaryReactor* Wait(grpc::CallbackServerContext* context, const tasks::WaitRequest* request,
                                 tasks::WaitResponse* response) override {
    return RunAsync(
        context, NamespaceRule::kRequired, request, response,
        [this](const CallContext&, const tasks::WaitRequest& request, Reply<tasks::WaitResponse> reply) {
          if (request.container_id() == "drop") return;
          reply.OnCancel([this] { cancelled.Notify(); });
          absl::MutexLock lock(&mutex);
          waiting.push_back(std::move(reply));
        });
  }

  absl::Mutex mutex;
  std::vector<Reply<tasks::WaitResponse>> waiting;
  absl::Notification cancelled;

 private:
  WorkerPool* const pool_;
};

class TestContent final : public content::Content::CallbackService {
 public:
  explicit TestContent(WorkerPool* pool) : pool_(pool) {}
  grpc::ServerWriteReactor<content::ReadContentResponse>* Read(
      grpc::CallbackServerContext* context, const content::ReadContentRequest* request) override {
    using Response = content::ReadContentResponse;
    return RunPullStream<content::ReadContentRequest, Response>(
        pool_, context, NamespaceRule::kRequired, request,
        [this](const CallContext&, const auto& request) -> absl::StatusOr<Generator<Response>> {
          if (request.digest() == "bad") return absl::InvalidArgumentError("bad digest");
          return Generator<Response>([this, at = 0](Response* out) mutable -> absl::StatusOr<bool> {
            if (at == 1000) return false;
            ++generated;
            out->set_offset(at++);
            out->set_data(std::string(60000, 'x'));
            return true;
          });
        });
  }
  std::atomic<int> generated = 0;

 private:
  WorkerPool* const pool_;
};

class TestEvents final : public events::Events::CallbackService {
 public:
  grpc::ServerWriteReactor<Envelope>* Subscribe(grpc::CallbackServerContext*,
                                                const events::SubscribeRequest*) override {
    auto started = StartPushStream<Envelope>(100, [this] { ended.Notify(); });
    stream = started.stream;
    subscribed.Notify();
    return started.reactor;
  }
  std::shared_ptr<PushStream<Envelope>> stream;
  absl::Notification subscribed, ended;
};

class Doubler final : public Exchange<Any, Any> {
 public:
  absl::StatusOr<ExchangeStep> OnRequest(const Any& request, Any* response) override {
    if (request.value() == "error") return absl::DataLossError("broken");
    if (request.value() == "quiet") return ExchangeStep::kContinue;
    response->set_value(absl::StrCat(request.value(), request.value()));
    return request.value() == "last" ? ExchangeStep::kReplyAndFinish : ExchangeStep::kReply;
  }
};

class TestStreaming final : public streaming::Streaming::CallbackService {
 public:
  explicit TestStreaming(WorkerPool* pool) : pool_(pool) {}
  grpc::ServerBidiReactor<Any, Any>* Stream(grpc::CallbackServerContext* context) override {
    return RunExchange<Any, Any>(pool_, context, NamespaceRule::kRequired,
                                 [](const CallContext&) { return std::make_unique<Doubler>(); });
  }

 private:
  WorkerPool* const pool_;
};

class ServerTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(mkdtemp(directory_), nullptr);
    path_ = absl::StrCat(directory_, "/c.sock");
    loop_ = *sys::EventLoop::Create();
    absl::StatusOr<sys::UniqueFd> socket = ListenAt({path_, 0660, geteuid(), getegid()});
    ASSERT_TRUE(socket.ok()) << socket.status();
    auto server = Server::Start(std::make_unique<Listener>(loop_.get(), *std::move(socket), path_), {},
                                {&tasks_, &content_, &events_, &streaming_});
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    thread_ = std::thread([this] { ASSERT_TRUE(loop_->Run().ok()); });
    channel_ = grpc::CreateChannel(absl::StrCat("unix:", path_), grpc::InsecureChannelCredentials());
  }

  void TearDown() override {
    channel_.reset();
    server_->Shutdown(absl::ZeroDuration());
    loop_->Post([this] {
      server_->StopAccepting();
      loop_->Stop();
    });
    thread_.join();
    server_.reset();
    EXPECT_NE(access(path_.c_str(), F_OK), 0) << "the socket stayed";
    EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, directory_).ok());
  }

  static void Name(grpc::ClientContext* context, const char* ns = "default") {
    context->AddMetadata(kNamespaceKey, ns);
  }

  char directory_[64] = "/tmp/gantry-server-XXXXXX";
  std::string path_;
  WorkerPool pool_{"test", 2};
  TestTasks tasks_{&pool_};
  TestContent content_{&pool_};
  TestEvents events_;
  TestStreaming streaming_{&pool_};
  std::unique_ptr<sys::EventLoop> loop_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
  std::shared_ptr<grpc::Channel> channel_;
};

TEST_F(ServerTest, SocketHasItsModeAndLiveOneIsNotReplaced) {
  struct stat st;
  ASSERT_EQ(stat(path_.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0660u);
  const auto second = ListenAt({path_, 0660, geteuid(), getegid()});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr(absl::StrCat("pid ", getpid())));
}

TEST_F(ServerTest, HealthAnswersServing) {
  auto stub = grpc::health::v1::Health::NewStub(channel_);
  grpc::ClientContext context;
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status status = stub->Check(&context, {}, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.status(), grpc::health::v1::HealthCheckResponse::SERVING);
}

TEST_F(ServerTest, UnaryCallsCarryNamespaceStatusAndValidUtf8) {
  auto stub = tasks::Tasks::NewStub(channel_);
  tasks::GetRequest request;
  tasks::GetResponse response;
  request.set_container_id("x");
  {
    grpc::ClientContext context;
    EXPECT_EQ(stub->Get(&context, request, &response).error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  }
  {
    grpc::ClientContext context;
    Name(&context, "no/such");
    EXPECT_EQ(stub->Get(&context, request, &response).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  }
  {
    grpc::ClientContext context;
    Name(&context);
    ASSERT_TRUE(stub->Get(&context, request, &response).ok());
    EXPECT_EQ(response.process().id(), "default/x");
  }
  {
    grpc::ClientContext context;
    Name(&context);
    request.set_container_id("none");
    const grpc::Status status = stub->Get(&context, request, &response);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
    EXPECT_EQ(status.error_message(), "no task \"none\"?: not found");
  }
  {
    grpc::ClientContext context;
    Name(&context);
    tasks::ListTasksResponse list;
    EXPECT_EQ(stub->List(&context, {}, &list).error_code(), grpc::StatusCode::UNIMPLEMENTED);
  }
}

TEST_F(ServerTest, MessageThatIsNoProtobufIsToldSo) {
  grpc::GenericStub stub(channel_);
  grpc::ClientContext context;
  Name(&context);
  const grpc::Slice bytes("\xff\xff\xff\xff", 4);
  const grpc::ByteBuffer request(&bytes, 1);
  grpc::ByteBuffer response;
  absl::Notification done;
  grpc::Status status;
  stub.UnaryCall(&context, "/containerd.services.tasks.v1.Tasks/Get", {}, &request, &response,
                 [&](grpc::Status s) {
                   status = s;
                   done.Notify();
                 });
  done.WaitForNotification();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("could not be decoded"));
}

TEST_F(ServerTest, AsyncCallsAreAnsweredLaterDroppedOrCancelled) {
  auto stub = tasks::Tasks::NewStub(channel_);
  tasks::WaitRequest request;
  tasks::WaitResponse response;
  request.set_container_id("drop");
  {
    grpc::ClientContext context;
    Name(&context);
    EXPECT_EQ(stub->Wait(&context, request, &response).error_code(), grpc::StatusCode::INTERNAL);
  }
  request.set_container_id("x");
  auto has_waiter = [this] {
    absl::MutexLock lock(&tasks_.mutex);
    auto waiting = [this] { return !tasks_.waiting.empty(); };
    tasks_.mutex.Await(absl::Condition(&waiting));
  };
  {
    std::thread answer([&] {
      has_waiter();
      tasks::WaitResponse out;
      out.set_exit_status(7);
      tasks_.waiting[0](out);
      tasks_.waiting[0](absl::InternalError("only the first answer counts"));
    });
    grpc::ClientContext context;
    Name(&context);
    const grpc::Status status = stub->Wait(&context, request, &response);
    answer.join();
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(response.exit_status(), 7u);
    tasks_.waiting.clear();
  }
  grpc::ClientContext context;
  Name(&context);
  std::thread cancel([&] {
    has_waiter();
    context.TryCancel();
  });
  EXPECT_EQ(stub->Wait(&context, request, &response).error_code(), grpc::StatusCode::CANCELLED);
  cancel.join();
  EXPECT_TRUE(tasks_.cancelled.WaitForNotificationWithTimeout(absl::Seconds(10)));
}

TEST_F(ServerTest, PulledStreamArrivesWholeAndInOrder) {
  auto stub = content::Content::NewStub(channel_);
  content::ReadContentRequest request;
  grpc::ClientContext context;
  Name(&context);
  auto reader = stub->Read(&context, request);
  content::ReadContentResponse response;
  int64_t next = 0;
  while (reader->Read(&response)) EXPECT_EQ(response.offset(), next++);
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(next, 1000);
}

TEST_F(ServerTest, PulledStreamStopsWhenTheClientDoesNotReadAndOthersGoOn) {
  auto stub = content::Content::NewStub(channel_);
  // A connection of its own: unread streams use up the window of the one that they share.
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  auto other = content::Content::NewStub(
      grpc::CreateCustomChannel(absl::StrCat("unix:", path_), grpc::InsecureChannelCredentials(), arguments));
  std::vector<std::unique_ptr<grpc::ClientContext>> contexts;
  std::vector<std::unique_ptr<grpc::ClientReader<content::ReadContentResponse>>> readers;
  for (int i = 0; i < 8; ++i) {  // more than the pool has threads
    contexts.push_back(std::make_unique<grpc::ClientContext>());
    Name(contexts.back().get());
    readers.push_back(stub->Read(contexts.back().get(), {}));
  }
  content::ReadContentRequest bad;
  bad.set_digest("bad");
  grpc::ClientContext context;
  Name(&context);
  content::ReadContentResponse response;
  auto reader = other->Read(&context, bad);
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_LT(content_.generated, 8000);
  for (auto& c : contexts) c->TryCancel();
  for (auto& r : readers) r->Finish();
}

TEST_F(ServerTest, PushedStreamDeliversInOrderAndEndsWithTheClient) {
  auto stub = events::Events::NewStub(channel_);
  grpc::ClientContext context;
  auto reader = stub->Subscribe(&context, {});
  events_.subscribed.WaitForNotification();
  for (int i = 0; i < 50; ++i) {
    auto envelope = std::make_shared<Envelope>();
    envelope->set_topic(absl::StrCat("/", i));
    ASSERT_TRUE(events_.stream->Push(envelope));
  }
  Envelope envelope;
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(reader->Read(&envelope));
    EXPECT_EQ(envelope.topic(), absl::StrCat("/", i));
  }
  context.TryCancel();
  EXPECT_FALSE(reader->Read(&envelope));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_TRUE(events_.ended.WaitForNotificationWithTimeout(absl::Seconds(10)));
  EXPECT_FALSE(events_.stream->Push(std::make_shared<Envelope>()));
}

TEST_F(ServerTest, LaggardIsCutOffAndNeverHoldsThePusher) {
  auto stub = events::Events::NewStub(channel_);
  grpc::ClientContext context;
  auto reader = stub->Subscribe(&context, {});
  events_.subscribed.WaitForNotification();
  auto envelope = std::make_shared<Envelope>();
  envelope->set_topic(std::string(100000, 'x'));
  int pushed = 0;
  while (events_.stream->Push(envelope)) ASSERT_LT(++pushed, 100000);
  Envelope got;
  while (reader->Read(&got)) continue;
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("fell behind"));
}

TEST_F(ServerTest, ExchangeAnswersRequestByRequest) {
  auto stub = streaming::Streaming::NewStub(channel_);
  auto converse = [&](std::vector<std::string> says, std::vector<std::string>* hears) {
    grpc::ClientContext context;
    Name(&context);
    auto stream = stub->Stream(&context);
    Any message;
    for (const std::string& text : says) {
      message.set_value(text);
      if (!stream->Write(message)) break;
      if (text == "quiet") continue;
      if (!stream->Read(&message)) break;
      hears->push_back(message.value());
    }
    stream->WritesDone();
    while (stream->Read(&message)) continue;
    return stream->Finish().error_code();
  };
  std::vector<std::string> heard;
  EXPECT_EQ(converse({"a", "quiet", "b"}, &heard), grpc::StatusCode::OK);
  EXPECT_THAT(heard, testing::ElementsAre("aa", "bb"));
  heard.clear();
  EXPECT_EQ(converse({"last"}, &heard), grpc::StatusCode::OK);
  EXPECT_THAT(heard, testing::ElementsAre("lastlast"));
  EXPECT_EQ(converse({"error"}, &heard), grpc::StatusCode::DATA_LOSS);
  grpc::ClientContext context;
  auto stream = stub->Stream(&context);
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

}  // namespace
}  // namespace gantry::server
