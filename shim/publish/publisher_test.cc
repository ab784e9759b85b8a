#include "shim/publish/publisher.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <optional>
#include <vector>

#include "api/proto/containerd/services/ttrpc/events/v1/events.pb.h"
#include "api/ttrpc/server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "runtime/sys/file.h"
#include "runtime/sys/socket.h"

namespace gantry::shim {
namespace {

using ::testing::ElementsAre;

class PublisherTest : public ::testing::Test {
 protected:
  PublisherTest() : loop_(*sys::EventLoop::Create()) {
    char name[] = "/tmp/shim-publish-XXXXXX";
    directory_ = mkdtemp(name);
    path_ = directory_ + "/s";
  }
  ~PublisherTest() override {
    sink_.reset();
    sys::RemoveAllAt(AT_FDCWD, directory_).IgnoreError();
  }

  // `status`: what the sink answers.
  void StartSink(absl::Status status = absl::OkStatus()) {
    auto listening = sys::ListenUnix(path_, SOCK_STREAM, 0600);
    ASSERT_TRUE(listening.ok()) << listening.status();
    sink_.emplace(loop_.get());
    sink_->Register("containerd.services.events.ttrpc.v1.Events", "Forward",
                    [this, status](const ttrpc::CallInfo&, std::string payload, ttrpc::Responder respond) {
                      containerd::services::events::ttrpc::v1::ForwardRequest request;
                      ASSERT_TRUE(request.ParseFromString(payload));
                      topics_.push_back(request.envelope().topic());
                      namespaces_.push_back(request.envelope().namespace_());
                      types_.push_back(request.envelope().event().type_url());
                      if (status.ok()) return respond(std::string());
                      respond(status);
                    });
    ASSERT_TRUE(sink_->Serve(*std::move(listening), ttrpc::RequireOwnerOrRoot()).ok());
  }
  void StopSink() {
    sink_.reset();
    unlink(path_.c_str());
  }
  void Turn(absl::Duration time = absl::Milliseconds(50)) {
    for (int i = 0; i < absl::ToInt64Milliseconds(time); ++i) {
      ASSERT_TRUE(loop_->RunOnce(absl::Milliseconds(1)).ok());
    }
  }
  void Publish(Publisher* publisher, const char* topic) {
    publisher->Publish(topic, "containerd.events.TaskStart", "", absl::FromUnixSeconds(1), true);
  }

  std::unique_ptr<sys::EventLoop> loop_;
  std::string directory_, path_;
  std::optional<ttrpc::Server> sink_;
  std::vector<std::string> topics_, namespaces_, types_;
};

TEST_F(PublisherTest, EventsArriveInOrder) {
  StartSink();
  Publisher publisher(loop_.get(), "unix://" + path_, "ns");
  bool idle = false;
  publisher.OnIdle([&] { idle = true; });
  for (const char* topic : {"/a", "/b", "/c"}) Publish(&publisher, topic);
  EXPECT_FALSE(publisher.idle());
  Turn();
  EXPECT_THAT(topics_, ElementsAre("/a", "/b", "/c"));
  EXPECT_THAT(namespaces_, ElementsAre("ns", "ns", "ns"));
  EXPECT_EQ(types_[0], "containerd.events.TaskStart");
  EXPECT_TRUE(publisher.idle());
  EXPECT_TRUE(idle);
  EXPECT_EQ(loop_->timers(), 0u);
}

TEST_F(PublisherTest, EventsWaitForADaemonThatIsAway) {
  Publisher publisher(loop_.get(), path_, "ns");
  Publish(&publisher, "/a");
  Publish(&publisher, "/b");
  Turn(absl::Milliseconds(500));
  EXPECT_FALSE(publisher.idle());
  StartSink();
  publisher.Wake();
  Turn(absl::Milliseconds(20));
  EXPECT_THAT(topics_, ElementsAre("/a", "/b"));
}

TEST_F(PublisherTest, ThePauseEndsByItselfToo) {
  Publisher publisher(loop_.get(), path_, "ns");
  Publish(&publisher, "/a");
  StartSink();
  Turn(absl::Milliseconds(300));
  EXPECT_THAT(topics_, ElementsAre("/a"));
}

TEST_F(PublisherTest, ARestartedSinkGetsWhatTheOldOneDidNot) {
  StartSink();
  Publisher publisher(loop_.get(), path_, "ns");
  Publish(&publisher, "/a");
  Turn();
  StopSink();
  Turn();
  Publish(&publisher, "/b");
  Turn();
  EXPECT_THAT(topics_, ElementsAre("/a"));
  StartSink();
  publisher.Wake();
  Turn();
  EXPECT_THAT(topics_, ElementsAre("/a", "/b"));
}

TEST_F(PublisherTest, ARefusedEventIsGivenUpInTheEnd) {
  StartSink(absl::InvalidArgumentError("no"));
  Publisher publisher(loop_.get(), path_, "ns");
  Publish(&publisher, "/a");
  for (int i = 0; i < 100 && !publisher.idle(); ++i) {
    Turn(absl::Milliseconds(5));
    publisher.Wake();
  }
  EXPECT_TRUE(publisher.idle());
  EXPECT_EQ(topics_.size(), 5u);
}

TEST_F(PublisherTest, WithoutAnAddressNothingIsKept) {
  Publisher publisher(loop_.get(), "", "ns");
  Publish(&publisher, "/a");
  EXPECT_TRUE(publisher.idle());
}

}  // namespace
}  // namespace gantry::shim
