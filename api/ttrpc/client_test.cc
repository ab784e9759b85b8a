#include "api/ttrpc/client.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/un.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "api/ttrpc/server.h"
#include "api/ttrpc/test_peer.h"
#include "runtime/sys/status.h"

namespace gantry::ttrpc {
namespace {

using Answer = std::optional<absl::StatusOr<std::string>>;

class ClientTest : public testing::Test {
 protected:
  ClientTest() : loop_(MakeLoop()) {
    auto [near, far] = MakePair();
    auto client = Client::FromFd(loop_.get(), std::move(near));
    EXPECT_TRUE(client.ok()) << client.status();
    client_ = *std::move(client);
    peer_ = std::make_unique<RawPeer>(loop_.get(), std::move(far));
  }
  Client::Callback Into(Answer& answer) {
    return [&answer](absl::StatusOr<std::string> result) { answer = std::move(result); };
  }
  absl::StatusOr<std::string> Wait(Answer& answer) {
    if (!TurnUntil(*loop_, [&] { return answer.has_value(); })) return absl::UnknownError("test: no answer");
    return *answer;
  }
  Request ReadRequest(uint32_t stream) {
    std::optional<Frame> frame = peer_->Read();
    EXPECT_TRUE(frame.has_value());
    if (!frame) return {};
    EXPECT_EQ(frame->stream, stream);
    EXPECT_EQ(frame->type, kRequest);
    EXPECT_EQ(frame->flags, 0) << "a unary call sets no flags";
    auto request = ParseRequest(frame->data);
    EXPECT_TRUE(request.ok());
    return request.ok() ? *request : Request{};
  }

  std::unique_ptr<sys::EventLoop> loop_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<RawPeer> peer_;
};

TEST_F(ClientTest, CallsCarryAllAndAnswersComeBack) {
  Answer answer;
  client_->Call("svc", "M", "in", absl::Seconds(3), {{"k", "v"}}, Into(answer));
  const Request request = ReadRequest(1);
  EXPECT_EQ(request.service, "svc");
  EXPECT_EQ(request.method, "M");
  EXPECT_EQ(request.payload, "in");
  EXPECT_EQ(request.timeout_nanos, 3'000'000'000);
  EXPECT_EQ(request.metadata, Metadata({{"k", "v"}}));
  peer_->WriteFrame(1, kResponse, 0, EncodeResponse({.payload = "out"}));
  EXPECT_EQ(*Wait(answer), "out");
  EXPECT_EQ(client_->pending(), 0u);
  EXPECT_EQ(loop_->timers(), 0u);
}

TEST_F(ClientTest, ManyCallsAreAnsweredInAnyOrder) {
  constexpr uint32_t kCalls = 500;
  std::vector<Answer> answers(kCalls);
  for (uint32_t i = 0; i < kCalls; ++i) {
    client_->Call("svc", "M", absl::StrCat(i), absl::InfiniteDuration(), Into(answers[i]));
  }
  for (uint32_t i = 0; i < kCalls; ++i) EXPECT_EQ(ReadRequest(2 * i + 1).timeout_nanos, 0);
  std::string bytes;
  for (uint32_t i = kCalls; i-- > 0;) {
    AppendFrame(bytes, 2 * i + 1, kResponse, 0, EncodeResponse({.payload = absl::StrCat("re ", i)}));
  }
  peer_->Write(bytes);
  for (uint32_t i = 0; i < kCalls; ++i) EXPECT_EQ(*Wait(answers[i]), absl::StrCat("re ", i));
}

TEST_F(ClientTest, AnErrorKeepsItsCode) {
  Answer answer;
  client_->Call("svc", "M", "", absl::Seconds(3), Into(answer));
  peer_->WriteFrame(1, kResponse, 0, EncodeResponse({.status = absl::NotFoundError("it: not found")}));
  EXPECT_EQ(Wait(answer).status(), absl::NotFoundError("it: not found"));
}

TEST_F(ClientTest, ADeadlinePassesAndTheLateAnswerIsIgnored) {
  Answer first, second, third;
  client_->Call("svc", "M", "", absl::Milliseconds(20), Into(first));
  EXPECT_EQ(Wait(first).status().code(), absl::StatusCode::kDeadlineExceeded);
  client_->Call("svc", "M", "", absl::Seconds(3), Into(second));
  peer_->WriteFrame(1, kResponse, 0, EncodeResponse({.payload = "late"}));
  peer_->WriteFrame(99, kResponse, 0, EncodeResponse({.payload = "made up"}));
  peer_->WriteFrame(3, 42, 0, "a type of the future");
  peer_->WriteFrame(3, kResponse, 0, EncodeResponse({.payload = "in time"}));
  EXPECT_EQ(*Wait(second), "in time");
  client_->Call("svc", "M", "", absl::ZeroDuration(), Into(third));
  EXPECT_FALSE(third.has_value()) << "never from inside Call";
  EXPECT_EQ(Wait(third).status().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(ClientTest, TheServersClosingEndsAllCallsThenTells) {
  std::vector<std::string> order;
  for (int i = 0; i < 3; ++i) {
    client_->Call("svc", "M", "", absl::Seconds(100), [&order, i](absl::StatusOr<std::string> result) {
      EXPECT_EQ(result.status().code(), absl::StatusCode::kUnavailable);
      order.push_back(absl::StrCat(i));
    });
  }
  client_->OnClose([&](const absl::Status&) { order.push_back("closed"); });
  peer_->Close();
  ASSERT_TRUE(TurnUntil(*loop_, [&] { return order.size() == 4; }));
  EXPECT_EQ(order, std::vector<std::string>({"0", "1", "2", "closed"}));
  EXPECT_TRUE(client_->closed());
  EXPECT_EQ(loop_->timers(), 0u);
  Answer after;
  client_->Call("svc", "M", "", absl::Seconds(1), Into(after));
  EXPECT_EQ(Wait(after).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(ClientTest, RubbishFromTheServerClosesTheConnection) {
  Answer answer;
  client_->Call("svc", "M", "", absl::Seconds(100), Into(answer));
  peer_->Write("HTTP/1.1 400 Bad Request\r\n");
  EXPECT_EQ(Wait(answer).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(ClientTest, OddAnswersAreErrorsOfThatCall) {
  Answer garbled, streamed, huge, good;
  for (Answer* answer : {&garbled, &streamed, &huge, &good}) {
    client_->Call("svc", "M", "", absl::Seconds(100), Into(*answer));
  }
  peer_->WriteFrame(1, kResponse, 0, "\xff");
  peer_->WriteFrame(3, kData, 0, "stream");
  peer_->Write(std::string("\0\x40\0\x01\0\0\0\x05\x02\0", 10) + std::string(kMaxDataBytes + 1, 'x'));
  peer_->WriteFrame(7, kResponse, 0, "");
  EXPECT_EQ(Wait(garbled).status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(Wait(streamed).status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(Wait(huge).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(*Wait(good), "") << "an empty response is a success";
}

TEST_F(ClientTest, RequestsThatAreTooLargeOrTooManyAreRefused) {
  Answer large, last;
  client_->Call("svc", "M", std::string(kMaxDataBytes, 'x'), absl::Seconds(9), Into(large));
  EXPECT_EQ(Wait(large).status().code(), absl::StatusCode::kResourceExhausted);
  std::vector<Answer> many(10);
  for (Answer& answer : many) {
    client_->Call("svc", "M", std::string(3 << 20, 'x'), absl::Seconds(9), Into(answer));
  }
  EXPECT_EQ(Wait(many.back()).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(client_->closed());
  peer_->Close();
}

TEST_F(ClientTest, CloseFailsWhatIsPendingFromTheLoop) {
  Answer answer;
  bool told = false;
  client_->Call("svc", "M", "", absl::Seconds(9), Into(answer));
  client_->OnClose([&](const absl::Status&) { told = true; });
  client_->Close();
  EXPECT_FALSE(answer.has_value());
  EXPECT_EQ(Wait(answer).status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(told);
  EXPECT_TRUE(peer_->WaitClosed());
}

TEST_F(ClientTest, ACallbackMayDestroyTheClient) {
  bool called = false, dropped_called = false;
  client_->Call("svc", "M", "", absl::Seconds(9), [&](absl::StatusOr<std::string>) {
    called = true;
    client_.reset();
  });
  client_->Call("svc", "M", "", absl::Seconds(9),
                [&](absl::StatusOr<std::string>) { dropped_called = true; });
  std::string bytes;
  AppendFrame(bytes, 1, kResponse, 0, "");
  AppendFrame(bytes, 3, kResponse, 0, "");
  peer_->Write(bytes);
  ASSERT_TRUE(TurnUntil(*loop_, [&] { return called; }));
  ASSERT_TRUE(loop_->RunOnce(absl::ZeroDuration()).ok());
  EXPECT_FALSE(dropped_called);
  EXPECT_EQ(loop_->watched(), 0u);
  EXPECT_EQ(loop_->timers(), 0u);
}

TEST_F(ClientTest, ACallbackMayCallAgain) {
  Answer second;
  client_->Call("svc", "M", "", absl::Seconds(9), [&](absl::StatusOr<std::string>) {
    client_->Call("svc", "Again", "", absl::Seconds(9), Into(second));
  });
  ReadRequest(1);
  peer_->WriteFrame(1, kResponse, 0, "");
  EXPECT_EQ(ReadRequest(3).method, "Again");
  peer_->WriteFrame(3, kResponse, 0, EncodeResponse({.payload = "2"}));
  EXPECT_EQ(*Wait(second), "2");
}

TEST(ClientConnectTest, AddressesAndTheirErrors) {
  auto loop = MakeLoop();
  char folder[] = "/tmp/gantry-ttrpc-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string path = absl::StrCat(folder, "/s");
  EXPECT_EQ(Client::Connect(loop.get(), "vsock://3:1024").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Client::Connect(loop.get(), absl::StrCat("/", std::string(200, 'x'))).status().code(),
            absl::StatusCode::kInvalidArgument);
  auto absent = Client::Connect(loop.get(), absl::StrCat("unix://", path));
  EXPECT_EQ(absent.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(sys::ErrnoOf(absent.status()), ENOENT);

  sys::UniqueFd listening(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  ASSERT_EQ(bind(listening.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(listen(listening.get(), 4), 0);
  Server server(loop.get());
  server.Register("svc", "Echo", [](const CallInfo&, std::string payload, Responder respond) {
    respond(std::move(payload));
  });
  ASSERT_TRUE(server.Serve(std::move(listening), RequireOwnerOrRoot()).ok());
  for (const std::string& name : {path, absl::StrCat("unix://", path), absl::StrCat("ttrpc+unix://", path)}) {
    auto client = Client::Connect(loop.get(), name);
    ASSERT_TRUE(client.ok()) << client.status();
    Answer answer;
    (*client)->Call("svc", "Echo", std::string(1 << 20, 'z'), absl::Seconds(5),
                    [&](absl::StatusOr<std::string> result) { answer = std::move(result); });
    ASSERT_TRUE(TurnUntil(*loop, [&] { return answer.has_value(); }));
    ASSERT_TRUE(answer->ok()) << answer->status();
    EXPECT_EQ((*answer)->size(), size_t{1 << 20});
  }
  unlink(path.c_str());
  rmdir(folder);
}

}  // namespace
}  // namespace gantry::ttrpc
