// The manager against a shim of the test's own: a script for the command line, and a ttrpc server on the same loop.
#include "daemon/tasks/manager.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "api/any/any.h"
#include "api/proto/containerd/events/task.pb.h"
#include "api/ttrpc/server.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/exit_info.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/socket.h"

namespace gantry::tasks {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::UnorderedElementsAre;

constexpr char kScript[] = R"(#!/bin/sh
for action; do :; done
echo "$action" >> "$FAKE_LOG"
case $action in
start) [ -n "$FAKE_BROKEN" ] && { echo "cannot start" >&2; exit 1; }; printf 'unix://%s' "$FAKE_SOCKET" ;;
delete) printf '\010\222\041\020\211\001' ;;
serve) echo $$ >> "$FAKE_LOG.pids"; exec sleep 1000 ;;
esac
)";

// Serves the task service, version 2, as a shim does.
class FakeShim {
 public:
  FakeShim(sys::EventLoop* loop, const std::string& path, std::string service = "containerd.task.v2.Task")
      : service_(std::move(service)), server_(std::make_unique<ttrpc::Server>(loop)) {
    Answer("Create", [this] {
      shim::CreateTaskResponse response;
      response.set_pid(4242);
      return create_error.ok() ? absl::StatusOr<std::string>(response.SerializeAsString()) : create_error;
    });
    Answer("State", [] {
      shim::StateResponse response;
      response.set_pid(4242);
      response.set_status(containerd::v1::types::RUNNING);
      return response.SerializeAsString();
    });
    server_->Register(service_, "Delete",
                      [this](const ttrpc::CallInfo&, std::string, ttrpc::Responder respond) {
                        if (running) return respond(absl::FailedPreconditionError("it runs"));
                        if (!slow_delete) return respond(Deleted());
                        if (!deleting.empty()) return respond(absl::NotFoundError("a deleted process"));
                        deleting.push_back(std::move(respond));
                      });
    Answer("Connect", [] { return shim::ConnectResponse().SerializeAsString(); });
    server_->Register(service_, "Shutdown",
                      [this, loop](const ttrpc::CallInfo&, std::string, ttrpc::Responder respond) {
                        respond(std::string());
                        loop->Post([this] { Die(); });
                      });
    server_->Register(service_, "Wait",
                      [this](const ttrpc::CallInfo&, std::string, ttrpc::Responder respond) {
                        waiting.push_back(std::move(respond));
                      });
    EXPECT_TRUE(server_->Serve(*sys::ListenUnix(path, SOCK_STREAM, 0600), ttrpc::RequireOwnerOrRoot()).ok());
  }

  static std::string Deleted() {
    shim::DeleteResponse response;
    response.set_pid(4242);
    response.set_exit_status(3);
    return response.SerializeAsString();
  }
  void Answer(const std::string& method, std::function<absl::StatusOr<std::string>()> answer) {
    server_->Register(
        service_, method,
        [answer](const ttrpc::CallInfo&, std::string, ttrpc::Responder respond) { respond(answer()); });
  }
  // Calls of this method are put into `held` from now on.
  void Hold(const std::string& method) {
    server_->Register(service_, method,
                      [this](const ttrpc::CallInfo&, std::string, ttrpc::Responder respond) {
                        held.push_back(std::move(respond));
                      });
  }
  void Die() {
    server_.reset();  // first: a Responder that goes while the server stands would answer
    waiting.clear();
    deleting.clear();
    held.clear();
  }
  bool alive() const { return server_ != nullptr; }

  absl::Status create_error;
  bool running = false;
  std::vector<ttrpc::Responder> waiting, held;
  std::vector<ttrpc::Responder> deleting;
  bool slow_delete = false;

 private:
  const std::string service_;
  std::unique_ptr<ttrpc::Server> server_;
};

class ManagerTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(mkdtemp(directory_), nullptr);
    loop_ = *sys::EventLoop::Create();
    script_ = Path("containerd-shim-fake-v2");
    ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, script_, kScript, 0755, sys::Durability::kVolatile).ok());
    options_.root = Path("r");
    options_.state = Path("s");
    options_.host.grpc_address = Path("c.sock");
    options_.host.ttrpc_address = Path("c.sock.ttrpc");
    options_.host.daemon_binary = Path("gantryd");
    options_.path = "/bin:/usr/bin";
    options_.host.environment = {"PATH=/bin:/usr/bin", "FAKE_SOCKET=" + Path("shim.sock"),
                                 "FAKE_LOG=" + Path("log")};
    options_.timeouts.shim_shutdown = absl::Milliseconds(500);
    exchange_.Subscribe(nullptr, [this](const std::shared_ptr<const events::Envelope>& envelope) {
      topics_.push_back(envelope->topic());
      return true;
    });
  }

  void TearDown() override {
    records_.reset();
    bulk_.reset();
    manager_.reset();
    shim_.reset();
    EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, directory_).ok());
  }

  std::string Path(const std::string& name) const { return absl::StrCat(directory_, "/", name); }

  void Open() {
    records_.emplace("records", 1);
    bulk_.emplace("bulk", 1);
    Manager::Parts parts{loop_.get(),
                         &*records_,
                         &*bulk_,
                         &exchange_,
                         [this](const TaskKey& key) -> absl::StatusOr<ContainerRecord> {
                           if (key.id == "none") return absl::NotFoundError("no container none");
                           ContainerRecord record;
                           record.runtime =
                               key.id == "odd" ? "io.containerd.absent.v9" : "io.containerd.fake.v2";
                           if (key.id == "ours") record.runtime = Program("containerd-shim-gantry-v2");
                           any::PackJson(any::kRuntimeSpec, "{}", &record.spec);
                           if (key.id.starts_with("in-")) record.sandbox = key.id.substr(3);
                           return record;
                         },
                         [this](const TaskKey& key) -> absl::StatusOr<Bootstrap> {
                           const auto it = sandboxes_.find(key.id);
                           if (it == sandboxes_.end()) return absl::NotFoundError("no sandbox " + key.id);
                           return it->second;
                         }};
    manager_ = *Manager::Create(std::move(parts), options_);
  }

  // Another daemon over the same directories.
  void Reopen() {
    records_.reset();
    bulk_.reset();
    manager_.reset();
    Open();
  }

  void Until(const std::function<bool()>& done) {
    for (int i = 0; i < 200 && !done(); ++i) ASSERT_TRUE(loop_->RunOnce(absl::Milliseconds(50)).ok());
    ASSERT_TRUE(done()) << "it did not happen in ten seconds";
  }

  absl::StatusOr<uint32_t> Create(const std::string& id) {
    std::optional<absl::StatusOr<uint32_t>> result;
    manager_->CreateTask({"ns", id}, {}, [&](absl::StatusOr<uint32_t> pid) { result = pid; });
    Until([&] { return result.has_value(); });
    return *result;
  }

  absl::StatusOr<shim::DeleteResponse> Delete(const std::string& id) {
    std::optional<absl::StatusOr<shim::DeleteResponse>> result;
    manager_->Delete({"ns", id}, [&](absl::StatusOr<shim::DeleteResponse> answer) { result = answer; });
    Until([&] { return result.has_value(); });
    return *result;
  }

  // The answer comes into `answer`.
  void Call(const std::string& id, const std::string& method,
            std::optional<absl::StatusOr<std::string>>* answer,
            absl::Duration timeout = absl::InfiniteDuration()) {
    manager_->Call({"ns", id}, method, "", timeout,
                   [answer](absl::StatusOr<std::string> result) { *answer = std::move(result); });
  }

  static containerd::types::Envelope ExitOf(const std::string& exec_id, int64_t seconds) {
    containerd::events::TaskExit exit;
    exit.set_container_id("c1");
    exit.set_id(exec_id);
    exit.set_pid(77);
    exit.mutable_exited_at()->set_seconds(seconds);
    containerd::types::Envelope envelope;
    envelope.set_namespace_("ns");
    envelope.set_topic("/tasks/exit");
    envelope.mutable_timestamp()->set_seconds(seconds);
    any::Pack(exit, envelope.mutable_event());
    return envelope;
  }

  // The script under another name.
  std::string Program(const std::string& name) const {
    if (!Exists(Path(name))) {
      EXPECT_TRUE(sys::WriteFileAtomic(AT_FDCWD, Path(name), kScript, 0755, sys::Durability::kVolatile).ok());
    }
    return Path(name);
  }
  // Of the scripts that serve, in the order of their start.
  std::vector<pid_t> Serving() const {
    std::vector<pid_t> pids;
    for (absl::string_view line : absl::StrSplit(
             sys::ReadFileAt(AT_FDCWD, Path("log.pids"), 10000).value_or(""), '\n', absl::SkipEmpty())) {
      pids.emplace_back();
      EXPECT_TRUE(absl::SimpleAtoi(line, &pids.back()));
    }
    return pids;
  }

  std::string Bundle(const std::string& id) const { return Path("s/io.containerd.runtime.v2.task/ns/" + id); }
  static bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }
  std::string Log() const { return sys::ReadFileAt(AT_FDCWD, Path("log"), 10000).value_or(""); }

  char directory_[64] = "/tmp/gantry-manager-XXXXXX";
  std::string script_;
  ManagerOptions options_;
  std::unique_ptr<sys::EventLoop> loop_;
  events::Exchange exchange_;
  std::vector<std::string> topics_;
  std::map<std::string, Bootstrap> sandboxes_;
  std::unique_ptr<FakeShim> shim_;
  std::unique_ptr<Manager> manager_;
  std::optional<server::WorkerPool> records_, bulk_;
};

TEST_F(ManagerTest, TaskLivesFromCreateToDeleteAndItsIdIsFreeAfterwards) {
  Open();
  for (int round = 0; round < 2; ++round) {
    shim_ = std::make_unique<FakeShim>(loop_.get(), Path("shim.sock"));
    const auto pid = Create("c1");
    ASSERT_TRUE(pid.ok()) << pid.status();
    EXPECT_EQ(*pid, 4242u);
    EXPECT_THAT(manager_->List("ns"), ElementsAre(TaskKey{"ns", "c1"}));
    EXPECT_THAT(manager_->List("other"), ElementsAre());
    EXPECT_EQ(Create("c1").status().code(), absl::StatusCode::kAlreadyExists);
    shim_->running = true;
    EXPECT_EQ(Delete("c1").status().code(), absl::StatusCode::kFailedPrecondition);
    shim_->running = false;
    const auto deleted = Delete("c1");
    ASSERT_TRUE(deleted.ok()) << deleted.status();
    EXPECT_EQ(deleted->exit_status(), 3u);
    EXPECT_FALSE(Exists(Bundle("c1")));
    EXPECT_EQ(Delete("c1").status().code(), absl::StatusCode::kNotFound);
    Until([&] { return !shim_->alive(); });
    unlink(Path("shim.sock").c_str());
  }
}

// A shim may refuse the second of two before it has answered the first (containerd-shim-runc-v2 does).
TEST_F(ManagerTest, OfTwoDeletesTheFirstSucceeds) {
  Open();
  shim_ = std::make_unique<FakeShim>(loop_.get(), Path("shim.sock"));
  ASSERT_TRUE(Create("c1").ok());
  shim_->slow_delete = true;
  std::optional<absl::StatusOr<shim::DeleteResponse>> first, second;
  manager_->Delete({"ns", "c1"}, [&](absl::StatusOr<shim::DeleteResponse> answer) { first = answer; });
  manager_->Delete({"ns", "c1"}, [&](absl::StatusOr<shim::DeleteResponse> answer) { second = answer; });
  Until([&] { return !shim_->deleting.empty(); });
  for (int turn = 0; turn < 5; ++turn) ASSERT_TRUE(loop_->RunOnce(absl::Milliseconds(2)).ok());
  EXPECT_FALSE(first.has_value() || second.has_value());
  auto respond = std::move(shim_->deleting.front());
  respond(FakeShim::Deleted());
  Until([&] { return first.has_value() && second.has_value(); });
  ASSERT_TRUE(first->ok()) << first->status();
  EXPECT_EQ((*first)->exit_status(), 3u);
  EXPECT_EQ(second->status().code(), absl::StatusCode::kNotFound);
  Until([&] { return !shim_->alive(); });
}

TEST_F(ManagerTest, CreateThatFailsLeavesNothing) {
  Open();
  EXPECT_EQ(Create("none").status().code(), absl::StatusCode::kNotFound);
  const auto odd = Create("odd");
  EXPECT_EQ(odd.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(odd.status().message()), HasSubstr("containerd-shim-absent-v9"));
  shim_ = std::make_unique<FakeShim>(loop_.get(), Path("shim.sock"));
  shim_->create_error = absl::UnknownError("no such program");
  const auto refused = Create("c1");
  EXPECT_EQ(refused.status(), absl::UnknownError("no such program"));
  EXPECT_FALSE(shim_->alive());
  EXPECT_FALSE(Exists(Bundle("c1")));
  EXPECT_THAT(manager_->List("ns"), ElementsAre());
}

TEST_F(ManagerTest, ShimThatDoesNotStartTellsWhy) {
  options_.host.environment.push_back("FAKE_BROKEN=1");
  Open();
  EXPECT_THAT(std::string(Create("c1").status().message()), HasSubstr("cannot start"));
  EXPECT_FALSE(Exists(Bundle("c1")));
}

TEST_F(ManagerTest, DeathOfAShimIsCleanedPublishedOnceAndAnsweredToWaiters) {
  Open();
  shim_ = std::make_unique<FakeShim>(loop_.get(), Path("shim.sock"));
  ASSERT_TRUE(Create("c1").ok());
  std::optional<absl::StatusOr<shim::WaitResponse>> waited;
  manager_->Wait({"ns", "c1"}, "", [&](absl::StatusOr<shim::WaitResponse> answer) { waited = answer; });
  bool cancelled = true;
  const uint64_t gone = manager_->Wait({"ns", "c1"}, "", [&](const auto&) { cancelled = false; });
  manager_->CancelWait({"ns", "c1"}, "", gone);
  Until([&] { return shim_->waiting.size() == 1; });  // one call serves both
  shim_->Die();
  Until([&] { return waited.has_value(); });
  ASSERT_TRUE(waited->ok()) << waited->status();
  EXPECT_EQ((*waited)->exit_status(), 137u);
  EXPECT_TRUE(cancelled);
  EXPECT_THAT(topics_, ElementsAre("/tasks/exit", "/tasks/delete"));
  EXPECT_THAT(Log(), HasSubstr("delete"));
  EXPECT_FALSE(Exists(Bundle("c1")));
  EXPECT_THAT(manager_->List("ns"), ElementsAre());
}

TEST_F(ManagerTest, RestartedManagerFindsItsTasksAndCleansTheDead) {
  Open();
  shim_ = std::make_unique<FakeShim>(loop_.get(), Path("shim.sock"));
  ASSERT_TRUE(Create("c1").ok());
  ASSERT_TRUE(sys::MkdirAll(Bundle("stale"), 0700).ok());
  Reopen();
  Until([&] { return manager_->List("ns").size() == 1 && !Exists(Bundle("stale")); });
  ASSERT_TRUE(Delete("c1").ok());
  Until([&] { return !shim_->alive(); });
  unlink(Path("shim.sock").c_str());

  shim_ = std::make_unique<FakeShim>(loop_.get(), Path("shim.sock"));
  ASSERT_TRUE(Create("c1").ok());
  records_.reset();
  bulk_.reset();
  manager_.reset();
  shim_->Die();
  topics_.clear();
  Open();
  Until([&] { return topics_.size() == 2; });
  EXPECT_THAT(topics_, ElementsAre("/tasks/exit", "/tasks/delete"));
  Until([&] { return !Exists(Bundle("c1")); });
}

TEST_F(ManagerTest, ExitThatAShimSendsTwiceIsPublishedOnce) {
  Open();
  shim_ = std::make_unique<FakeShim>(loop_.get(), Path("shim.sock"));
  ASSERT_TRUE(Create("c1").ok());
  containerd::events::TaskExit exit;
  exit.set_container_id("c1");
  exit.set_id("c1");
  exit.set_pid(4242);
  containerd::types::Envelope envelope;
  envelope.set_namespace_("ns");
  envelope.set_topic("/tasks/exit");
  envelope.mutable_timestamp()->set_seconds(1);
  any::Pack(exit, envelope.mutable_event());
  EXPECT_TRUE(manager_->Forward(envelope).ok());
  EXPECT_TRUE(manager_->Forward(envelope).ok());
  EXPECT_THAT(topics_, ElementsAre("/tasks/exit"));
  shim_->Die();
  Until([&] { return topics_.size() == 2; });
  EXPECT_THAT(topics_, ElementsAre("/tasks/exit", "/tasks/delete"));
}

// A foreign shim groups by answering `start` with the address of one that runs.
TEST_F(ManagerTest, TasksThatShareAShimEndEachForItself) {
  Open();
  shim_ = std::make_unique<FakeShim>(loop_.get(), Path("shim.sock"));
  ASSERT_TRUE(Create("c1").ok());
  ASSERT_TRUE(Create("c2").ok());
  ASSERT_TRUE(Delete("c1").ok());
  EXPECT_FALSE(Exists(Bundle("c1")));
  const sys::Deadline later = sys::Deadline::After(2 * options_.timeouts.shim_shutdown);
  while (!later.Passed()) ASSERT_TRUE(loop_->RunOnce(absl::Milliseconds(20)).ok());
  EXPECT_TRUE(shim_->alive()) << "the other one needs it";
  EXPECT_THAT(manager_->List("ns"), ElementsAre(TaskKey{"ns", "c2"}));
  ASSERT_TRUE(Create("c1").ok());
  Reopen();
  Until([&] { return manager_->List("ns").size() == 2; });
  ASSERT_TRUE(Delete("c2").ok());
  ASSERT_TRUE(Delete("c1").ok());
  Until([&] { return !shim_->alive(); });
}

TEST_F(ManagerTest, DeathOfASharedShimIsToldForEachTask) {
  Open();
  shim_ = std::make_unique<FakeShim>(loop_.get(), Path("shim.sock"));
  ASSERT_TRUE(Create("c1").ok());
  ASSERT_TRUE(Create("c2").ok());
  shim_->Die();
  Until([&] { return topics_.size() == 4; });
  EXPECT_THAT(topics_, UnorderedElementsAre("/tasks/exit", "/tasks/exit", "/tasks/delete", "/tasks/delete"));
  EXPECT_THAT(manager_->List("ns"), ElementsAre());
}

TEST_F(ManagerTest, AContainerOfASandboxIsMadeInItsShim) {
  sandboxes_["pod"] = {3, "unix://" + Path("pod.sock"), "ttrpc"};
  Open();
  EXPECT_TRUE(absl::IsNotFound(Create("in-none").status()));
  EXPECT_FALSE(Exists(Bundle("in-none")));
  shim_ = std::make_unique<FakeShim>(loop_.get(), Path("pod.sock"), "containerd.task.v3.Task");
  ASSERT_TRUE(Create("in-pod").ok());
  EXPECT_EQ(*sys::ReadFileAt(AT_FDCWD, Bundle("in-pod") + "/sandbox", 100), "pod");
  EXPECT_THAT(Log(), Not(HasSubstr("start")));
  Reopen();
  Until([&] { return manager_->List("ns").size() == 1; });
  ASSERT_TRUE(Delete("in-pod").ok());
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(loop_->RunOnce(absl::Milliseconds(20)).ok());
  EXPECT_TRUE(shim_->alive()) << "it is the sandbox's";
  ASSERT_TRUE(Create("in-pod").ok());
  shim_->Die();
  Until([&] { return topics_.size() == 2; });
  EXPECT_THAT(topics_, ElementsAre("/tasks/exit", "/tasks/delete"));
}

TEST_F(ManagerTest, ExitOfAnExecIsPublishedOnceAlsoByTheNextDaemon) {
  Open();
  shim_ = std::make_unique<FakeShim>(loop_.get(), Path("shim.sock"));
  ASSERT_TRUE(Create("c1").ok());
  EXPECT_TRUE(manager_->Forward(ExitOf("e", 1)).ok());
  EXPECT_TRUE(manager_->Forward(ExitOf("e", 1)).ok());
  Reopen();
  EXPECT_TRUE(manager_->Forward(ExitOf("e", 1)).ok());
  EXPECT_THAT(topics_, ElementsAre("/tasks/exit"));
  EXPECT_TRUE(manager_->Forward(ExitOf("e", 2)).ok()) << "another exec of that name";
  EXPECT_THAT(topics_, ElementsAre("/tasks/exit", "/tasks/exit"));
}

TEST_F(ManagerTest, CallsWaitUntilItIsKnownWhatAFoundShimHas) {
  Open();
  shim_ = std::make_unique<FakeShim>(loop_.get(), Path("shim.sock"));
  ASSERT_TRUE(Create("c1").ok());
  shim_->Hold("State");
  Reopen();
  EXPECT_THAT(manager_->List("ns"), ElementsAre(TaskKey{"ns", "c1"}));
  std::optional<absl::StatusOr<std::string>> kill, impatient;
  Call("c1", "Connect", &kill);
  Call("c1", "Connect", &impatient, absl::Milliseconds(50));
  Until([&] { return impatient.has_value(); });
  EXPECT_EQ(impatient->status().code(), absl::StatusCode::kDeadlineExceeded);
  ASSERT_EQ(shim_->held.size(), 1u);
  EXPECT_FALSE(kill.has_value());
  shim::StateResponse state;
  state.set_pid(4242);
  shim_->held[0](state.SerializeAsString());
  Until([&] { return kill.has_value(); });
  EXPECT_TRUE(kill->ok()) << kill->status();
}

TEST_F(ManagerTest, ATaskThatTurnsOutToBeNoneWasNeverThere) {
  Open();
  shim_ = std::make_unique<FakeShim>(loop_.get(), Path("shim.sock"));
  ASSERT_TRUE(Create("c1").ok());
  shim_->Hold("State");
  Reopen();
  std::optional<absl::StatusOr<std::string>> called;
  std::optional<absl::StatusOr<shim::WaitResponse>> waited;
  Call("c1", "Connect", &called);
  manager_->Wait({"ns", "c1"}, "", [&](absl::StatusOr<shim::WaitResponse> answer) { waited = answer; });
  Until([&] { return shim_->held.size() == 1; });
  shim_->held[0](absl::NotFoundError("container not created"));
  Until([&] { return called.has_value() && waited.has_value(); });
  EXPECT_EQ(called->status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(waited->status().code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(Exists(Bundle("c1") + "/ending") || !Exists(Bundle("c1")));
  Until([&] { return !Exists(Bundle("c1")); });
}

TEST_F(ManagerTest, ATaskThatClientsWereToldIsGoneStaysGone) {
  Open();
  shim_ = std::make_unique<FakeShim>(loop_.get(), Path("shim.sock"));
  ASSERT_TRUE(Create("c1").ok());
  // As if this daemon were killed while it cleans up after a shim.
  ASSERT_TRUE(
      sys::WriteFileAtomic(AT_FDCWD, Bundle("c1") + "/ending", "", 0600, sys::Durability::kVolatile).ok());
  Reopen();
  EXPECT_THAT(manager_->List("ns"), ElementsAre());
  std::optional<absl::StatusOr<std::string>> called;
  Call("c1", "State", &called);
  Until([&] { return called.has_value(); });
  EXPECT_EQ(called->status().code(), absl::StatusCode::kNotFound);
  Until([&] { return !Exists(Bundle("c1")); });
  EXPECT_THAT(topics_, ElementsAre("/tasks/exit", "/tasks/delete"));
}

TEST_F(ManagerTest, ACallThatTheEndOfItsShimCutsOffTellsWhetherTheTaskIsThere) {
  Open();
  shim_ = std::make_unique<FakeShim>(loop_.get(), Path("shim.sock"));
  ASSERT_TRUE(Create("c1").ok());
  shim_->Hold("Kill");
  shim_->Hold("Stats");
  std::optional<absl::StatusOr<std::string>> kill, stats;
  Call("c1", "Kill", &kill);
  Call("c1", "Stats", &stats);
  Until([&] { return shim_->held.size() == 2; });
  shim_->Die();
  // One that serves again at the same address has the same task.
  shim_ = std::make_unique<FakeShim>(loop_.get(), Path("shim.sock2"));
  ASSERT_EQ(rename(Path("shim.sock2").c_str(), Path("shim.sock").c_str()), 0);
  shim_->Answer("Stats", [] { return shim::StatsResponse().SerializeAsString(); });
  Until([&] { return kill.has_value() && stats.has_value(); });
  EXPECT_EQ(kill->status().code(), absl::StatusCode::kUnavailable) << "nobody knows";
  EXPECT_TRUE(stats->ok()) << stats->status();

  shim_->Hold("Kill");
  kill.reset();
  Call("c1", "Kill", &kill);
  Until([&] { return shim_->held.size() == 1; });
  shim_->Die();
  Until([&] { return kill.has_value(); });
  EXPECT_EQ(kill->status().code(), absl::StatusCode::kNotFound);
  Until([&] { return !Exists(Bundle("c1")); });
}

// The end of a shim is seen twice, by its connection and by its process; what that leads to takes its time.
TEST_F(ManagerTest, TheSuccessorOfAShimIsWaitedForHoweverLongItTakesToStart) {
  if (!sys::KernelKeepsExitInfo()) GTEST_SKIP() << "needs Linux 6.15: PIDFD_INFO_EXIT";
  Open();
  std::optional<absl::StatusOr<uint32_t>> created;
  manager_->CreateTask({"ns", "ours"}, {}, [&](absl::StatusOr<uint32_t> pid) { created = pid; });
  // Before the loop runs, and connects to it: the script has a socket, but does not serve.
  for (int i = 0; i < 1000 && Serving().empty(); ++i) poll(nullptr, 0, 10);
  ASSERT_EQ(Serving().size(), 1u);
  const std::string socket = *Bundles(Path("s"), Path("r")).SocketPath({"ns", "ours"}, Path("c.sock"));
  shim_ = std::make_unique<FakeShim>(loop_.get(), Path("shim.sock"), "containerd.task.v3.Task");
  ASSERT_EQ(rename(Path("shim.sock").c_str(), socket.c_str()), 0);
  Until([&] { return created.has_value(); });
  ASSERT_TRUE(created->ok()) << created->status();
  ASSERT_TRUE(sys::WriteFileAtomic(
                  AT_FDCWD, Bundle("ours") + "/gantry-state",
                  absl::StrCat("pid ", getpid(), " ", *sys::ProcessStartTime(getpid()), "\nadopt 1 0 0 0\n"),
                  0600, sys::Durability::kVolatile)
                  .ok());
  records_->Submit([] { poll(nullptr, 0, 400); });  // the only worker
  ASSERT_EQ(kill(Serving()[0], SIGKILL), 0);
  shim_->Die();
  Until([&] { return Serving().size() == 2; });
  EXPECT_THAT(Log(), Not(HasSubstr("delete")));
  EXPECT_THAT(manager_->List("ns"), ElementsAre(TaskKey{"ns", "ours"}));
  EXPECT_EQ(kill(Serving()[1], SIGKILL), 0);
}

TEST_F(ManagerTest, StopAnswersTheWaiters) {
  Open();
  shim_ = std::make_unique<FakeShim>(loop_.get(), Path("shim.sock"));
  ASSERT_TRUE(Create("c1").ok());
  std::optional<absl::StatusOr<shim::WaitResponse>> waited;
  manager_->Wait({"ns", "c1"}, "", [&](absl::StatusOr<shim::WaitResponse> answer) { waited = answer; });
  manager_->Stop();
  ASSERT_TRUE(waited.has_value());
  EXPECT_EQ(waited->status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(Exists(Bundle("c1")));
}

}  // namespace
}  // namespace gantry::tasks
