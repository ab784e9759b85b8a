// Standard streams over the shim's own socket, as a client of containerd's streaming service has them.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "api/any/any.h"
#include "api/proto/containerd/services/streaming/v1/streaming.pb.h"
#include "api/proto/containerd/types/transfer/streaming.pb.h"
#include "api/ttrpc/envelope.h"
#include "api/ttrpc/frame.h"
#include "gmock/gmock.h"
#include "google/protobuf/any.pb.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/file.h"
#include "runtime/sys/socket.h"
#include "shim/test/harness.h"

namespace gantry::shim {
namespace {

using ::testing::HasSubstr;

using containerd::types::transfer::Data;
using containerd::types::transfer::WindowUpdate;

// One stream on a connection of its own; blocking, with patience.
class StreamClient {
 public:
  StreamClient(const std::string& socket, const std::string& id)
      : fd_(*sys::ConnectUnix(socket, SOCK_STREAM)) {
    std::string bytes;
    ttrpc::Request request;
    request.service = "containerd.services.streaming.v1.Streaming";
    request.method = "Stream";
    ttrpc::AppendFrame(bytes, 1, ttrpc::kRequest, ttrpc::kRemoteOpen, ttrpc::EncodeRequest(request));
    EXPECT_TRUE(sys::WriteAll(fd_.get(), bytes).ok());
    containerd::services::streaming::v1::StreamInit init;
    init.set_id(id);
    Send(init);
    acknowledged = Next() && any_.type_url() == "google.protobuf.Empty";
  }

  template <typename Message>
  void Send(const Message& message) {
    google::protobuf::Any any;
    any::Pack(message, &any);
    std::string bytes;
    ttrpc::AppendFrame(bytes, 1, ttrpc::kData, 0, any.SerializeAsString());
    EXPECT_TRUE(sys::WriteAll(fd_.get(), bytes).ok());
  }
  void Allow(int bytes) {
    WindowUpdate update;
    update.set_update(bytes);
    Send(update);
  }
  void CloseSend() {
    std::string bytes;
    ttrpc::AppendFrame(bytes, 1, ttrpc::kData, ttrpc::kRemoteClosed | ttrpc::kNoData, "");
    EXPECT_TRUE(sys::WriteAll(fd_.get(), bytes).ok());
  }

  // The next message into any_; false: the stream is over, or nothing came.
  bool Next(absl::Duration patience = absl::Seconds(5)) {
    const sys::Deadline deadline = sys::Deadline::After(patience);
    while (true) {
      auto frame = decoder_.Next();
      EXPECT_TRUE(frame.ok());
      if (frame->has_value()) {
        if ((*frame)->type == ttrpc::kResponse) error = ttrpc::ParseResponse((*frame)->data)->status;
        over = (*frame)->type == ttrpc::kResponse || ((*frame)->flags & ttrpc::kRemoteClosed) != 0;
        return !over && any_.ParseFromString((*frame)->data);
      }
      pollfd wait = {fd_.get(), POLLIN, 0};
      if (poll(&wait, 1, deadline.PollTimeout()) <= 0) return false;
      char chunk[65536];
      const ssize_t size = read(fd_.get(), chunk, sizeof(chunk));
      if (size <= 0) return false;
      decoder_.Append(absl::string_view(chunk, static_cast<size_t>(size)));
    }
  }

  // All output to the end of the stream, or `most` bytes.
  std::string Read(size_t most = SIZE_MAX) {
    std::string output;
    while (output.size() < most) {
      if (allowed_ == 0) Allow(static_cast<int>(allowed_ = 65536));
      if (!Next()) break;
      Data data;
      EXPECT_EQ(any_.type_url(), data.GetTypeName());
      EXPECT_TRUE(data.ParseFromString(any_.value()));
      EXPECT_LE(data.data().size(), allowed_);
      allowed_ -= data.data().size();
      output += data.data();
    }
    return output;
  }

  // Sends as the windows allow.
  void Write(absl::string_view text) {
    while (!text.empty()) {
      while (window_ == 0) {
        ASSERT_TRUE(Next()) << "no window";
        WindowUpdate update;
        ASSERT_EQ(any_.type_url(), update.GetTypeName());
        ASSERT_TRUE(update.ParseFromString(any_.value()));
        window_ += static_cast<size_t>(update.update());
      }
      const size_t size = std::min({text.size(), window_, size_t{32768}});
      Data data;
      data.set_data(std::string(text.substr(0, size)));
      Send(data);
      window_ -= size;
      text.remove_prefix(size);
    }
  }

  bool acknowledged = false, over = false;
  absl::Status error;

 private:
  sys::UniqueFd fd_;
  ttrpc::FrameDecoder decoder_;
  google::protobuf::Any any_;
  size_t allowed_ = 0, window_ = 0;
};

class StreamStdioTest : public ShimTest {
 protected:
  std::string Uri(const std::string& id) const {
    return absl::StrCat("ttrpc+unix://", socket_path_, "?streaming_id=", id);
  }
  void EndShim() {
    EXPECT_TRUE(Shutdown().ok());
    RunUntil([this] { return ShimGone(); }, "the shim to end");
  }
};

TEST_F(StreamStdioTest, OutputsGoToStreamsOfTheirOwn) {
  MakeBundle({"sh", "-c", "echo to-out; echo to-err >&2"});
  Serve();
  StreamClient out(socket_path_, "c-stdout"), err(socket_path_, "c-stderr");
  ASSERT_TRUE(out.acknowledged && err.acknowledged);
  ASSERT_TRUE(Create({"", Uri("c-stdout"), Uri("c-stderr"), false}).ok());
  ASSERT_TRUE(Start().ok());
  EXPECT_EQ(*Wait(), 0);
  EXPECT_EQ(out.Read(), "to-out\n");
  EXPECT_TRUE(out.over && out.error.ok());
  EXPECT_EQ(err.Read(), "to-err\n");
  EXPECT_EQ(*Delete(), 0);
  EndShim();
}

TEST_F(StreamStdioTest, AMebibyteThereAndBack) {
  MakeBundle({"cat"});
  Serve();
  StreamClient in(socket_path_, "in"), out(socket_path_, "out");
  ASSERT_TRUE(Create({Uri("in"), Uri("out"), "", false}).ok());
  ASSERT_TRUE(Start().ok());
  std::string text;
  for (int i = 0; text.size() < (1 << 20); ++i) absl::StrAppend(&text, i, "\n");
  std::string got;
  for (size_t at = 0; at < text.size(); at += 65536) {
    const absl::string_view piece = absl::string_view(text).substr(at, 65536);
    in.Write(piece);
    got += out.Read(piece.size());
  }
  in.CloseSend();
  EXPECT_EQ(*Wait(), 0) << "the end of the client's side is the end of stdin";
  got += out.Read();
  EXPECT_EQ(got, text);
  EXPECT_EQ(*Delete(), 0);
  EndShim();
}

TEST_F(StreamStdioTest, AClientMayComeLateAndGo) {
  MakeBundle({"sh", "-c", "echo first; sleep 0.3; seq 1 100000; echo last"});
  Serve();
  ASSERT_TRUE(Create({"", Uri("s"), "", false}).ok());
  ASSERT_TRUE(Start().ok());
  RunFor(absl::Milliseconds(50));
  std::string got;
  {
    StreamClient client(socket_path_, "s");
    ASSERT_TRUE(client.acknowledged);
    EXPECT_THAT(std::string(StreamClient(socket_path_, "s").error.message()), HasSubstr("has a client"));
    got = client.Read(6);
  }
  EXPECT_EQ(got, "first\n");
  RunFor(absl::Milliseconds(500));  // it waits for a reader, as its pipe is full
  EXPECT_EQ(State()->status(), containerd::v1::types::RUNNING);
  StreamClient second(socket_path_, "s");
  got = second.Read();
  EXPECT_EQ(got.substr(0, 4), "1\n2\n");
  EXPECT_EQ(got.substr(got.size() - 12), "100000\nlast\n");
  EXPECT_EQ(*Wait(), 0);
  EXPECT_EQ(*Delete(), 0);
  EndShim();
}

TEST_F(StreamStdioTest, AShimThatIsToldToEndCopiesTheRest) {
  MakeBundle({"sh", "-c", "seq 1 5000"});
  Serve();
  StreamClient client(socket_path_, "s");
  ASSERT_TRUE(Create({"", Uri("s"), "", false}).ok());
  ASSERT_TRUE(Start().ok());
  EXPECT_EQ(*Wait(), 0);
  EXPECT_EQ(*Delete(), 0);
  ASSERT_TRUE(Shutdown().ok());
  const std::string got = client.Read();
  EXPECT_THAT(got.substr(got.size() - 5), "5000\n");
  RunUntil([this] { return ShimGone(); }, "the shim to end");
}

TEST_F(StreamStdioTest, ATerminalHasStreamsToo) {
  MakeBundle({"sh", "-c", "read line; echo got $line"},
             [](oci::Spec* spec) { spec->process->terminal = true; });
  Serve();
  StreamClient in(socket_path_, "in"), out(socket_path_, "out");
  ASSERT_TRUE(Create({Uri("in"), Uri("out"), "", true}).ok());
  ASSERT_TRUE(Start().ok());
  in.Write("hello\n");
  EXPECT_THAT(out.Read(), HasSubstr("got hello"));
  EXPECT_EQ(*Wait(), 0);
  EXPECT_EQ(*Delete(), 0);
  EndShim();
}

TEST_F(StreamStdioTest, ExecsHaveThemAndCloseIOWaitsForTheClient) {
  MakeBundle({"sleep", "1000"});
  Serve();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Start().ok());
  StreamClient in(socket_path_, "in"), out(socket_path_, "out");
  ASSERT_TRUE(Exec("e", {"cat"}, {Uri("in"), Uri("out"), "", false}).ok());
  ASSERT_TRUE(Start("e").ok());
  containerd::task::v3::CloseIORequest request;
  request.set_id(id_);
  request.set_exec_id("e");
  request.set_stdin(true);
  ASSERT_TRUE(CallRaw("containerd.task.v3.Task", "CloseIO", request.SerializeAsString()).ok());
  in.Write("after all\n");
  EXPECT_EQ(out.Read(10), "after all\n");
  in.CloseSend();
  EXPECT_EQ(*Wait("e"), 0);
  EXPECT_EQ(out.Read(), "");
  ASSERT_TRUE(Kill(SIGKILL).ok());
  EXPECT_EQ(*Wait(), 137);
  EXPECT_EQ(*Delete(), 137);
  EndShim();
}

TEST_F(StreamStdioTest, WhatIsNotUnderstoodIsRefused) {
  MakeBundle({"true"});
  Serve();
  EXPECT_THAT(std::string(Create({"", "grpc+vsock://3:10?streaming_id=x", "", false}).status().message()),
              HasSubstr("unknown stdio scheme"));
  EXPECT_THAT(std::string(Create({"", "ttrpc+unix:///s", "", false}).status().message()),
              HasSubstr("?streaming_id="));
  EXPECT_THAT(std::string(Create({"", Uri("same"), Uri("same"), false}).status().message()),
              HasSubstr("has a process"));
  StreamClient nameless(socket_path_, "");
  EXPECT_TRUE(absl::IsInvalidArgument(nameless.error)) << nameless.error;
}

}  // namespace
}  // namespace gantry::shim
