// The controller against a shim of the test's own: a script for the command line, and a ttrpc server on the same loop.
#include "daemon/sandbox/controller.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <optional>

#include "absl/strings/str_cat.h"
#include "api/proto/containerd/events/sandbox.pb.h"
#include "api/ttrpc/server.h"
#include "runtime/sys/file.h"
#include "runtime/sys/socket.h"

namespace gantry::sandbox {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr char kSandbox[] = "containerd.runtime.sandbox.v1.Sandbox";
constexpr char kScript[] = R"(#!/bin/sh
for action; do :; done
echo "$action" >> "$FAKE_LOG"
case $action in
start) printf '{"version":3,"address":"unix://%s","protocol":"ttrpc"}' "$FAKE_SOCKET" ;;
delete) printf '\010\222\041\020\211\001' ;;
esac
)";

class FakeShim {
 public:
  FakeShim(sys::EventLoop* loop, const std::string& path) : server_(std::make_unique<ttrpc::Server>(loop)) {
    Answer("CreateSandbox", [this] { return create_error.ok() ? Empty() : create_error; });
    Answer("StartSandbox", [this]() -> absl::StatusOr<std::string> {
      if (!start_error.ok()) return start_error;
      shim::StartSandboxResponse response;
      response.set_pid(4242);
      ready = true;
      return response.SerializeAsString();
    });
    Answer("SandboxStatus", [this] {
      shim::SandboxStatusResponse response;
      response.set_state(ready ? "SANDBOX_READY" : "SANDBOX_NOTREADY");
      return response.SerializeAsString();
    });
    server_->Register(kSandbox, "WaitSandbox",
                      [this](const ttrpc::CallInfo&, std::string, ttrpc::Responder respond) {
                        waiting.push_back(std::move(respond));
                      });
    const auto end = [this, loop](const ttrpc::CallInfo&, std::string, ttrpc::Responder respond) {
      for (ttrpc::Responder& waiter : std::exchange(waiting, {})) waiter(Exit(0));
      respond(std::string());
      loop->Post([this] { Die(); });
    };
    server_->Register(kSandbox, "ShutdownSandbox", end);
    server_->Register(
        "containerd.task.v3.Task", "Shutdown",
        [](const ttrpc::CallInfo&, std::string, ttrpc::Responder respond) { respond(std::string()); });
    EXPECT_TRUE(server_->Serve(*sys::ListenUnix(path, SOCK_STREAM, 0600), ttrpc::RequireOwnerOrRoot()).ok());
  }

  static absl::StatusOr<std::string> Empty() { return std::string(); }
  static std::string Exit(uint32_t status) {
    shim::WaitSandboxResponse exit;
    exit.set_exit_status(status);
    return exit.SerializeAsString();
  }
  void Answer(const std::string& method, std::function<absl::StatusOr<std::string>()> answer) {
    server_->Register(
        kSandbox, method,
        [answer](const ttrpc::CallInfo&, std::string, ttrpc::Responder respond) { respond(answer()); });
  }
  void Die() {
    server_.reset();  // first: a Responder that goes while the server stands would answer
    waiting.clear();
  }
  bool alive() const { return server_ != nullptr; }

  absl::Status create_error, start_error;
  bool ready = false;
  std::vector<ttrpc::Responder> waiting;

 private:
  std::unique_ptr<ttrpc::Server> server_;
};

class ControllerTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(mkdtemp(directory_), nullptr);
    loop_ = *sys::EventLoop::Create();
    ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, Path("containerd-shim-fake-v2"), kScript, 0755,
                                     sys::Durability::kVolatile)
                    .ok());
    options_.root = Path("r");
    options_.state = Path("s");
    options_.host.grpc_address = Path("c.sock");
    options_.host.daemon_binary = Path("gantryd");
    options_.path = "/bin:/usr/bin";
    options_.host.environment = {"PATH=/bin:/usr/bin", "FAKE_SOCKET=" + Path("shim.sock"),
                                 "FAKE_LOG=" + Path("log")};
    options_.timeouts.shim_shutdown = absl::Milliseconds(500);
    exchange_.Subscribe(nullptr, [this](const std::shared_ptr<const events::Envelope>& envelope) {
      topics_.push_back(envelope->topic());
      return true;
    });
    Open();
  }
  void TearDown() override {
    records_.reset();
    bulk_.reset();
    controller_.reset();
    shim_.reset();
    EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, directory_).ok());
  }

  std::string Path(const std::string& name) const { return absl::StrCat(directory_, "/", name); }
  std::string Bundle() const { return Path("s/io.containerd.sandbox.controller.v1.shim/ns/pod"); }
  bool BundleExists() const { return access(Bundle().c_str(), F_OK) == 0; }
  void Open() {
    records_.emplace("records", 1);
    bulk_.emplace("bulk", 1);
    controller_ = *Controller::Create({loop_.get(), &*records_, &*bulk_, &exchange_}, options_);
  }
  // Another daemon over the same directories.
  void Reopen() {
    records_.reset();
    bulk_.reset();
    controller_.reset();
    Open();
  }
  void StartShim() {
    unlink(Path("shim.sock").c_str());
    shim_ = std::make_unique<FakeShim>(loop_.get(), Path("shim.sock"));
  }
  void Until(const std::function<bool()>& done) {
    for (int i = 0; i < 200 && !done(); ++i) ASSERT_TRUE(loop_->RunOnce(absl::Milliseconds(50)).ok());
    ASSERT_TRUE(done()) << "it did not happen in ten seconds";
  }
  std::string Log() {
    const auto text = sys::ReadFileAt(AT_FDCWD, Path("log"), 4096);
    return text.ok() ? *text : "";
  }

  absl::Status Create() {
    std::optional<absl::Status> result;
    NewSandbox what;
    what.runtime = "io.containerd.fake.v2";
    what.spec = "{}";
    controller_->CreateSandbox(key_, what, [&](const absl::Status& status) { result = status; });
    Until([&] { return result.has_value(); });
    return result.value_or(absl::UnknownError("no answer"));
  }
  absl::StatusOr<uint32_t> Start() {
    std::optional<absl::StatusOr<uint32_t>> result;
    controller_->Start(key_, [&](const absl::StatusOr<shim::StartSandboxResponse>& started) {
      result = started.ok() ? absl::StatusOr<uint32_t>(started->pid()) : started.status();
    });
    Until([&] { return result.has_value(); });
    return *result;
  }
  absl::Status Shutdown() {
    std::optional<absl::Status> result;
    controller_->Shutdown(key_, [&](const absl::Status& status) { result = status; });
    Until([&] { return result.has_value(); });
    return *result;
  }

  char directory_[32] = "/tmp/gantry-sandbox-XXXXXX";
  const tasks::TaskKey key_{"ns", "pod"};
  std::unique_ptr<sys::EventLoop> loop_;
  events::Exchange exchange_;
  std::vector<std::string> topics_;
  std::optional<server::WorkerPool> records_, bulk_;
  tasks::ManagerOptions options_;
  std::unique_ptr<Controller> controller_;
  std::unique_ptr<FakeShim> shim_;
};

TEST_F(ControllerTest, CreateStartWaitShutdown) {
  StartShim();
  ASSERT_TRUE(Create().ok());
  EXPECT_TRUE(absl::IsAlreadyExists(Create()));
  EXPECT_EQ(controller_->Endpoint(key_)->address, "unix://" + Path("shim.sock"));
  EXPECT_EQ(access((Bundle() + "/config.json").c_str(), F_OK), 0);
  EXPECT_NE(access((Bundle() + "/creating").c_str(), F_OK), 0);
  EXPECT_EQ(*Start(), 4242u);
  std::optional<uint32_t> exit;
  EXPECT_NE(controller_->Wait(key_,
                              [&](const absl::StatusOr<shim::WaitSandboxResponse>& ended) {
                                if (ended.ok()) exit = ended->exit_status();
                              }),
            0u);
  Until([&] { return !shim_->waiting.empty(); });
  EXPECT_TRUE(Shutdown().ok());
  EXPECT_EQ(exit, 0u);
  EXPECT_FALSE(shim_->alive());
  EXPECT_FALSE(BundleExists());
  EXPECT_TRUE(absl::IsNotFound(Shutdown()));
  EXPECT_TRUE(absl::IsNotFound(controller_->Endpoint(key_).status()));
  EXPECT_THAT(topics_, ElementsAre("/sandboxes/start", "/sandboxes/exit"));
  EXPECT_THAT(Log(), Not(HasSubstr("delete"))) << "it ended in order";
}

TEST_F(ControllerTest, AFailedCreateLeavesNothing) {
  StartShim();
  shim_->create_error = absl::InvalidArgumentError("bad sandbox");
  EXPECT_THAT(std::string(Create().message()), HasSubstr("bad sandbox"));
  EXPECT_FALSE(shim_->alive());
  EXPECT_FALSE(BundleExists());
  StartShim();
  EXPECT_TRUE(Create().ok()) << "the id is free";
}

TEST_F(ControllerTest, OneThatCannotBeStartedIsTakenDown) {
  StartShim();
  ASSERT_TRUE(Create().ok());
  shim_->start_error = absl::UnknownError("no such program");
  EXPECT_THAT(std::string(Start().status().message()), HasSubstr("no such program"));
  EXPECT_FALSE(BundleExists());
  EXPECT_THAT(topics_, ElementsAre());
}

TEST_F(ControllerTest, ADeadShimIsCleanedUpAfterAndTheExitToldOnce) {
  StartShim();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Start().ok());
  std::optional<uint32_t> exit;
  controller_->Wait(key_, [&](const absl::StatusOr<shim::WaitSandboxResponse>& ended) {
    if (ended.ok()) exit = ended->exit_status();
  });
  Until([&] { return !shim_->waiting.empty(); });
  shim_->Die();
  Until([&] { return exit.has_value(); });
  EXPECT_EQ(exit, 137u);
  EXPECT_THAT(Log(), HasSubstr("delete"));
  EXPECT_FALSE(BundleExists());
  EXPECT_THAT(topics_, ElementsAre("/sandboxes/start", "/sandboxes/exit"));
}

TEST_F(ControllerTest, TheNextDaemonFindsItAgain) {
  StartShim();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Start().ok());
  Reopen();
  EXPECT_TRUE(absl::IsAlreadyExists(Create()));
  Until([&] { return !shim_->waiting.empty(); });
  EXPECT_TRUE(Shutdown().ok());
  EXPECT_THAT(topics_, ElementsAre("/sandboxes/start", "/sandboxes/exit"));
}

TEST_F(ControllerTest, OneThatEndedMeanwhileIsTold) {
  StartShim();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Start().ok());
  controller_.reset();
  shim_->Die();
  Reopen();
  Until([&] { return topics_.size() == 2; });
  EXPECT_THAT(topics_, ElementsAre("/sandboxes/start", "/sandboxes/exit"));
  EXPECT_FALSE(BundleExists());
  Reopen();
  EXPECT_EQ(topics_.size(), 2u);
}

TEST_F(ControllerTest, OneWhoseCreationWasCutOffIsTakenDown) {
  StartShim();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(
      sys::WriteFileAtomic(AT_FDCWD, Bundle() + "/creating", "", 0600, sys::Durability::kVolatile).ok());
  Reopen();
  Until([&] { return !BundleExists(); });
  EXPECT_THAT(topics_, ElementsAre());
}

TEST_F(ControllerTest, AnUnknownRuntimeIsNamed) {
  std::optional<absl::Status> result;
  NewSandbox what;
  what.runtime = "io.containerd.absent.v9";
  controller_->CreateSandbox(key_, what, [&](const absl::Status& status) { result = status; });
  Until([&] { return result.has_value(); });
  EXPECT_TRUE(absl::IsFailedPrecondition(*result)) << *result;
  EXPECT_FALSE(BundleExists());
}

}  // namespace
}  // namespace gantry::sandbox
