#include "api/ttrpc/server.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/un.h>

#include <map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "api/ttrpc/test_peer.h"

namespace gantry::ttrpc {
namespace {

class ServerTest : public testing::Test {
 protected:
  ServerTest() : loop_(MakeLoop()), server_(std::make_unique<Server>(loop_.get())) {
    server_->Register("svc", "Echo", [this](const CallInfo& call, std::string payload, Responder respond) {
      seen_metadata_ = call.metadata;
      seen_timeout_ = call.timeout;
      seen_uid_ = call.peer.uid;
      respond(std::move(payload));
    });
    server_->Register("svc", "Fail", [](const CallInfo&, std::string, Responder respond) {
      respond(absl::NotFoundError("task \"x\""));
    });
    server_->RegisterStream("svc", "Chat", [this](const CallInfo&, std::shared_ptr<ServerStream> stream) {
      chat_ = stream;
      ServerStream::Events events;
      events.on_message = [raw = stream.get()](std::string message) {
        const absl::string_view said = message;
        if (said == "end") return raw->Finish(absl::OkStatus());
        if (said == "fail") return raw->Finish(absl::NotFoundError("stream \"x\""));
        raw->Send("echo " + message);
      };
      events.on_half_close = [this] { half_closed_ = true; };
      events.on_end = [this] { gone_ = true; };
      stream->Listen(std::move(events));
    });
    server_->Register("svc", "Later", [this](const CallInfo&, std::string payload, Responder respond) {
      later_.emplace(std::move(payload), std::move(respond));
    });
  }
  RawPeer Connect() {
    auto [near, far] = MakePair();
    EXPECT_TRUE(server_->Adopt(std::move(near)).ok());
    return RawPeer(loop_.get(), std::move(far));
  }
  static Request Call(std::string method, std::string payload = "") {
    return {.service = "svc", .method = std::move(method), .payload = std::move(payload)};
  }

  std::unique_ptr<sys::EventLoop> loop_;
  std::unique_ptr<Server> server_;
  Metadata seen_metadata_;
  absl::Duration seen_timeout_;
  uid_t seen_uid_ = 12345;
  std::map<std::string, Responder> later_;
  std::shared_ptr<ServerStream> chat_;
  bool half_closed_ = false, gone_ = false;
};

TEST_F(ServerTest, AStreamCarriesMessagesBothWays) {
  RawPeer peer = Connect();
  peer.WriteRequest(1, Call("Chat"), kRemoteOpen);
  peer.WriteFrame(1, kData, 0, "one");
  std::optional<Frame> frame = peer.Read();
  ASSERT_TRUE(frame.has_value());
  EXPECT_EQ(frame->type, kData);
  EXPECT_EQ(frame->flags, 0);
  EXPECT_EQ(frame->data, "echo one");
  EXPECT_EQ(server_->streams(), 1u);
  EXPECT_EQ(server_->calls(), 0u);
  peer.WriteFrame(1, kData, kRemoteClosed | kNoData, "");
  ASSERT_TRUE(TurnUntil(*loop_, [&] { return half_closed_; }));
  chat_->Send("still");
  EXPECT_EQ(peer.Read()->data, "still");
  chat_->Finish(absl::OkStatus());
  frame = peer.Read();
  ASSERT_TRUE(frame.has_value());
  EXPECT_EQ(frame->flags, kRemoteClosed | kNoData);
  EXPECT_EQ(server_->streams(), 0u);
  chat_->Send("too late");
  peer.WriteRequest(3, Call("Echo", "next"));
  EXPECT_EQ(peer.ReadResponse(3).payload, "next");
  peer.WriteFrame(1, kData, 0, "nobody");
  EXPECT_EQ(peer.ReadResponse(1).status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(gone_);
}

TEST_F(ServerTest, AStreamEndsByItsHandlerWithAnError) {
  RawPeer peer = Connect();
  peer.WriteRequest(1, Call("Chat"), kRemoteOpen);
  peer.WriteFrame(1, kData, 0, "fail");
  EXPECT_EQ(peer.ReadResponse(1).status, absl::NotFoundError("stream \"x\": not found"));
  EXPECT_FALSE(gone_);
}

TEST_F(ServerTest, AStreamWhoseConnectionEndsIsTold) {
  {
    RawPeer peer = Connect();
    peer.WriteRequest(1, Call("Chat"), kRemoteOpen);
    ASSERT_TRUE(TurnUntil(*loop_, [&] { return chat_ != nullptr; }));
  }
  ASSERT_TRUE(TurnUntil(*loop_, [&] { return gone_; }));
  chat_->Send("nobody");
  chat_->Finish(absl::OkStatus());
  EXPECT_EQ(server_->streams(), 0u);
}

TEST_F(ServerTest, AShutdownWaitsForStreams) {
  RawPeer peer = Connect();
  peer.WriteRequest(1, Call("Chat"), kRemoteOpen);
  ASSERT_TRUE(TurnUntil(*loop_, [&] { return chat_ != nullptr; }));
  bool down = false;
  server_->Shutdown(absl::Seconds(10), [&] { down = true; });
  ASSERT_TRUE(loop_->RunOnce(absl::Milliseconds(20)).ok());
  EXPECT_FALSE(down);
  chat_->Finish(absl::OkStatus());
  EXPECT_TRUE(TurnUntil(*loop_, [&] { return down; }));
}

TEST_F(ServerTest, AnswersACallAndTellsWhoCalls) {
  RawPeer peer = Connect();
  Request request = Call("Echo", "hello");
  request.metadata = {{"containerd-namespace-ttrpc", "k8s.io"}};
  request.timeout_nanos = 7'000'000'000;
  peer.WriteRequest(1, request);
  const Response response = peer.ReadResponse(1);
  EXPECT_TRUE(response.status.ok());
  EXPECT_EQ(response.payload, "hello");
  EXPECT_EQ(MetadataValue(seen_metadata_, "containerd-namespace-ttrpc"), "k8s.io");
  EXPECT_EQ(MetadataValue(seen_metadata_, "absent"), "");
  EXPECT_EQ(seen_timeout_, absl::Seconds(7));
  EXPECT_EQ(seen_uid_, getuid());
  EXPECT_EQ(loop_->timers(), 0u) << "the deadline's timer went with the answer";
}

TEST_F(ServerTest, ARequestArrivesByteByByte) {
  RawPeer peer = Connect();
  std::string bytes;
  AppendFrame(bytes, 1, kRequest, 0, EncodeRequest(Call("Echo", "slow")));
  AppendFrame(bytes, 3, kRequest, 0, EncodeRequest(Call("Echo", "slower")));
  for (char byte : bytes) peer.Write(absl::string_view(&byte, 1));
  EXPECT_EQ(peer.ReadResponse(1).payload, "slow");
  EXPECT_EQ(peer.ReadResponse(3).payload, "slower");
}

TEST_F(ServerTest, ErrorsCarryCodeAndMessage) {
  RawPeer peer = Connect();
  peer.WriteRequest(1, Call("Fail"));
  EXPECT_EQ(peer.ReadResponse(1).status, absl::NotFoundError("task \"x\": not found"));
  peer.WriteRequest(3, Call("Nothing"));
  EXPECT_EQ(peer.ReadResponse(3).status.code(), absl::StatusCode::kUnimplemented);
  peer.WriteRequest(5, {.service = "other", .method = "Echo"});
  EXPECT_EQ(peer.ReadResponse(5).status.code(), absl::StatusCode::kUnimplemented);
}

TEST_F(ServerTest, AnswersComeInTheOrderTheyAreGiven) {
  RawPeer peer = Connect();
  constexpr uint32_t kCalls = 200;
  for (uint32_t i = 0; i < kCalls; ++i) peer.WriteRequest(2 * i + 1, Call("Later", absl::StrCat(i)));
  ASSERT_TRUE(TurnUntil(*loop_, [&] { return later_.size() == kCalls; }));
  EXPECT_EQ(server_->calls(), kCalls);
  for (uint32_t i = kCalls; i-- > 0;) {
    auto call = later_.extract(absl::StrCat(i));
    call.mapped()(call.key());
  }
  for (uint32_t i = kCalls; i-- > 0;) EXPECT_EQ(peer.ReadResponse(2 * i + 1).payload, absl::StrCat(i));
  EXPECT_EQ(server_->calls(), 0u);
}

TEST_F(ServerTest, AMissedDeadlineIsAnsweredAndTheLateAnswerDropped) {
  RawPeer peer = Connect();
  Request request = Call("Later", "x");
  request.timeout_nanos = 20'000'000;
  peer.WriteRequest(1, request);
  EXPECT_EQ(peer.ReadResponse(1).status.code(), absl::StatusCode::kDeadlineExceeded);
  auto call = later_.extract("x");
  EXPECT_FALSE(call.mapped().wanted());
  call.mapped()("too late");
  peer.WriteRequest(3, Call("Echo", "next"));
  EXPECT_EQ(peer.ReadResponse(3).payload, "next");
  request.timeout_nanos = -5;
  peer.WriteRequest(5, request);
  EXPECT_EQ(peer.ReadResponse(5).status.code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(ServerTest, AResponderThatIsDroppedAnswersInternal) {
  RawPeer peer = Connect();
  server_->Register("svc", "Drop", [](const CallInfo&, std::string, Responder) {});
  peer.WriteRequest(1, Call("Drop"));
  EXPECT_EQ(peer.ReadResponse(1).status.code(), absl::StatusCode::kInternal);
}

TEST_F(ServerTest, AClientThatLeavesTakesItsCallsAlong) {
  {
    RawPeer peer = Connect();
    peer.WriteRequest(1, Call("Later", "x"));
    ASSERT_TRUE(TurnUntil(*loop_, [&] { return !later_.empty(); }));
  }
  ASSERT_TRUE(TurnUntil(*loop_, [&] { return server_->connections() == 0; }));
  EXPECT_FALSE(later_.begin()->second.wanted());
  later_.begin()->second("nobody hears this");
  EXPECT_EQ(server_->calls(), 0u);
}

TEST_F(ServerTest, RubbishClosesThatConnectionOnly) {
  RawPeer good = Connect();
  RawPeer bad = Connect();
  bad.Write("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(bad.WaitClosed());
  good.WriteRequest(1, Call("Echo", "still here"));
  EXPECT_EQ(good.ReadResponse(1).payload, "still here");
  EXPECT_EQ(server_->connections(), 1u);
}

TEST_F(ServerTest, ABrokenMessageCostsThatCallOnly) {
  RawPeer peer = Connect();
  peer.WriteFrame(1, kRequest, 0, "\xff\xff\xff");
  EXPECT_EQ(peer.ReadResponse(1).status.code(), absl::StatusCode::kInvalidArgument);
  peer.WriteRequest(2, Call("Echo"));
  EXPECT_EQ(peer.ReadResponse(2).status.code(), absl::StatusCode::kInvalidArgument) << "even";
  peer.WriteRequest(1, Call("Echo"));
  EXPECT_EQ(peer.ReadResponse(1).status.code(), absl::StatusCode::kInvalidArgument) << "not rising";
  peer.WriteFrame(3, 77, 0, "a type of the future");
  peer.WriteFrame(3, kResponse, 0, "not for a server");
  peer.WriteRequest(3, Call("Echo", "fine"));
  EXPECT_EQ(peer.ReadResponse(3).payload, "fine");
}

TEST_F(ServerTest, AnOversizedRequestIsRefusedAndTheConnectionGoesOn) {
  RawPeer peer = Connect();
  std::string bytes("\0\x40\0\x01\0\0\0\x01\x01\0", 10);
  bytes.append(kMaxDataBytes + 1, 'x');
  AppendFrame(bytes, 3, kRequest, 0, EncodeRequest(Call("Echo", "on")));
  peer.Write(bytes);
  EXPECT_EQ(peer.ReadResponse(1).status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(peer.ReadResponse(3).payload, "on");
}

TEST_F(ServerTest, AnOversizedAnswerBecomesAnError) {
  RawPeer peer = Connect();
  server_->Register("svc", "Huge", [](const CallInfo&, std::string, Responder respond) {
    respond(std::string(kMaxDataBytes + 1, 'x'));
  });
  peer.WriteRequest(1, Call("Huge"));
  EXPECT_EQ(peer.ReadResponse(1).status.code(), absl::StatusCode::kResourceExhausted);
}

TEST_F(ServerTest, StreamingClientsFlagsAreUnderstood) {
  RawPeer peer = Connect();
  peer.WriteRequest(1, Call("Echo", "closed"), kRemoteClosed);
  EXPECT_EQ(peer.ReadResponse(1).payload, "closed");
  peer.WriteRequest(3, Call("Later", "open"), kRemoteOpen);
  peer.WriteFrame(3, kData, kRemoteClosed | kNoData, "");
  ASSERT_TRUE(TurnUntil(*loop_, [&] { return later_.contains("open"); }));
  later_.extract("open").mapped()("half closed");
  EXPECT_EQ(peer.ReadResponse(3).payload, "half closed");
  peer.WriteFrame(3, kData, 0, "after the end");
  EXPECT_EQ(peer.ReadResponse(3).status.code(), absl::StatusCode::kInvalidArgument);
  peer.WriteRequest(5, Call("Later", "data"), kRemoteOpen);
  peer.WriteFrame(5, kData, 0, "unwanted");
  EXPECT_EQ(peer.ReadResponse(5).status.code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ServerTest, AClientThatDoesNotReadIsNotReadFrom) {
  RawPeer peer = Connect();
  const std::string big(1 << 20, 'x');
  int calls = 0;
  server_->Register("svc", "Big", [&](const CallInfo&, std::string, Responder respond) {
    ++calls;
    respond(big);
  });
  std::string requests;
  constexpr int kCalls = 40;
  for (int i = 0; i < kCalls; ++i) AppendFrame(requests, 2 * i + 1, kRequest, 0, EncodeRequest(Call("Big")));
  peer.Write(requests);
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(loop_->RunOnce(absl::Milliseconds(1)).ok());
  EXPECT_LT(calls, 12) << "8 MiB wait, the rest stays unread";
  for (int i = 0; i < kCalls; ++i) EXPECT_EQ(peer.ReadResponse(2 * i + 1).payload.size(), big.size());
  EXPECT_EQ(calls, kCalls);
}

TEST_F(ServerTest, AClientThatNeverReadsIsCutOff) {
  RawPeer peer = Connect();
  constexpr int kCalls = 30;
  for (int i = 0; i < kCalls; ++i) peer.WriteRequest(2 * i + 1, Call("Later", absl::StrCat(i)));
  ASSERT_TRUE(TurnUntil(*loop_, [&] { return later_.size() == kCalls; }));
  for (auto& [name, respond] : later_) respond(std::string(3 << 20, 'x'));
  EXPECT_TRUE(TurnUntil(*loop_, [&] { return server_->connections() == 0; }));
}

TEST_F(ServerTest, HandlersMayRegisterAndShutDown) {
  RawPeer peer = Connect();
  bool done = false;
  server_->Register("svc", "Bye", [&](const CallInfo&, std::string, Responder respond) {
    server_->Register("svc", "Bye", [](const CallInfo&, std::string, Responder) {});
    server_->Shutdown(absl::Seconds(10), [&] { done = true; });
    respond("bye");
  });
  peer.WriteRequest(1, Call("Bye"));
  EXPECT_EQ(peer.ReadResponse(1).payload, "bye");
  EXPECT_TRUE(TurnUntil(*loop_, [&] { return done; }));
  EXPECT_TRUE(peer.WaitClosed());
  EXPECT_EQ(loop_->timers(), 0u);
}

TEST_F(ServerTest, ShutdownWaitsForCallsAndRefusesNewOnes) {
  RawPeer peer = Connect();
  peer.WriteRequest(1, Call("Later", "x"));
  ASSERT_TRUE(TurnUntil(*loop_, [&] { return !later_.empty(); }));
  bool done = false;
  server_->Shutdown(absl::Seconds(10), [&] { done = true; });
  peer.WriteRequest(3, Call("Echo"));
  EXPECT_EQ(peer.ReadResponse(3).status.code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(done);
  later_.begin()->second("done");
  EXPECT_EQ(peer.ReadResponse(1).payload, "done");
  EXPECT_TRUE(TurnUntil(*loop_, [&] { return done; }));
}

TEST_F(ServerTest, ShutdownEndsAfterItsGrace) {
  RawPeer peer = Connect();
  peer.WriteRequest(1, Call("Later", "x"));
  ASSERT_TRUE(TurnUntil(*loop_, [&] { return !later_.empty(); }));
  bool done = false;
  server_->Shutdown(absl::Milliseconds(10), [&] { done = true; });
  EXPECT_TRUE(TurnUntil(*loop_, [&] { return done; }));
  EXPECT_TRUE(peer.WaitClosed());
}

TEST_F(ServerTest, ARespondersLifeMayExceedTheServers) {
  RawPeer peer = Connect();
  peer.WriteRequest(1, Call("Later", "x"));
  ASSERT_TRUE(TurnUntil(*loop_, [&] { return !later_.empty(); }));
  server_.reset();
  EXPECT_FALSE(later_.begin()->second.wanted());
  later_.begin()->second("nobody");
  EXPECT_EQ(loop_->watched(), 0u);
}

class ListenTest : public ServerTest {
 protected:
  void SetUp() override {
    char path[] = "/tmp/gantry-ttrpc-XXXXXX";
    ASSERT_NE(mkdtemp(path), nullptr);
    folder_ = path;
    path_ = folder_ + "/s";
    listening_.reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = Address();
    ASSERT_EQ(bind(listening_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    ASSERT_EQ(listen(listening_.get(), 16), 0);
  }
  void TearDown() override {
    unlink(path_.c_str());
    rmdir(folder_.c_str());
  }
  sockaddr_un Address() const {
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    path_.copy(address.sun_path, sizeof(address.sun_path) - 1);
    return address;
  }
  RawPeer Dial() {
    sys::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_un address = Address();
    EXPECT_EQ(connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    return RawPeer(loop_.get(), std::move(fd));
  }

  std::string folder_, path_;
  sys::UniqueFd listening_;
};

TEST_F(ListenTest, AcceptsWhomTheCheckLetsIn) {
  ASSERT_TRUE(server_->Serve(std::move(listening_), RequireOwnerOrRoot()).ok());
  std::vector<RawPeer> peers;
  for (int i = 0; i < 5; ++i) peers.push_back(Dial());
  for (RawPeer& peer : peers) {
    peer.WriteRequest(1, Call("Echo", "hi"));
    EXPECT_EQ(peer.ReadResponse(1).payload, "hi");
  }
  EXPECT_EQ(server_->connections(), 5u);
}

TEST_F(ListenTest, TurnsAwayWhomItDoesNot) {
  ASSERT_TRUE(
      server_->Serve(std::move(listening_), [](const ucred&) { return absl::PermissionDeniedError("no"); })
          .ok());
  RawPeer peer = Dial();
  EXPECT_TRUE(peer.WaitClosed());
  EXPECT_EQ(server_->connections(), 0u);
}

TEST(PeerCheckTest, OwnerAndRootMayConnect) {
  PeerCheck check = RequireOwnerOrRoot();
  EXPECT_TRUE(check({.pid = 1, .uid = 0, .gid = 0}).ok());
  EXPECT_TRUE(check({.pid = 1, .uid = geteuid(), .gid = 9}).ok());
  EXPECT_EQ(check({.pid = 1, .uid = geteuid() + 1, .gid = 0}).code(), absl::StatusCode::kPermissionDenied);
}

}  // namespace
}  // namespace gantry::ttrpc
