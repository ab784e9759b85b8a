// The life of a container through the real shim: states, exits, execs, events, and what is left afterwards.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "api/proto/containerd/events/task.pb.h"
#include "gmock/gmock.h"
#include "runtime/sys/file.h"
#include "shim/task/exit_record.h"
#include "shim/test/harness.h"

namespace gantry::shim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

using LifecycleTest = ShimTest;

TEST_F(LifecycleTest, CreateStartExitDeleteShutdown) {
  MakeBundle({"sh", "-c", "exit 7"});
  Serve();
  const auto pid = Create();
  ASSERT_TRUE(pid.ok()) << pid.status();
  EXPECT_EQ(State()->status(), containerd::v1::types::CREATED);
  EXPECT_FALSE(CgroupGone());
  ASSERT_EQ(*Start(), *pid);
  EXPECT_EQ(*Wait(), 7);
  EXPECT_EQ(State()->status(), containerd::v1::types::STOPPED);
  EXPECT_EQ(State()->exit_status(), 7u);
  const auto record = ReadExitRecord(bundle_);
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->pid, *pid);
  EXPECT_EQ(record->status, 7u);
  EXPECT_EQ(*Wait(), 7) << "the exit is kept";
  EXPECT_EQ(*Delete(), 7);
  EXPECT_TRUE(CgroupGone());
  EXPECT_TRUE(absl::IsNotFound(State().status())) << State().status();
  EXPECT_TRUE(Shutdown().ok());
  RunUntil([this] { return ShimGone(); }, "the shim to end");
  EXPECT_EQ(access(socket_path_.c_str(), F_OK), 0) << "the daemon's, who may have bound another one there";
  EXPECT_THAT(Topics(), ElementsAre("/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"));
  containerd::events::TaskExit exit;
  ASSERT_TRUE(exit.ParseFromString(events_[2].value));
  EXPECT_EQ(exit.container_id(), id_);
  EXPECT_EQ(exit.id(), id_);
  EXPECT_EQ(exit.exit_status(), 7u);
  EXPECT_EQ(exit.pid(), static_cast<uint32_t>(*pid));
  EXPECT_GT(exit.exited_at().seconds(), 0);
}

TEST_F(LifecycleTest, TheOlderServiceIsServedToo) {
  MakeBundle({"true"});
  Serve();
  containerd::task::v3::ConnectRequest request;
  request.set_id(id_);
  EXPECT_TRUE(CallRaw("containerd.task.v2.Task", "Connect", request.SerializeAsString()).ok());
  EXPECT_TRUE(absl::IsUnimplemented(CallRaw("containerd.task.v2.Task", "Nothing", "").status()));
}

TEST_F(LifecycleTest, WhatDoesNotFitTheStateIsRefused) {
  MakeBundle({"sleep", "1000"});
  Serve();
  EXPECT_TRUE(absl::IsNotFound(Start().status()));
  ASSERT_TRUE(Create().ok());
  EXPECT_TRUE(absl::IsAlreadyExists(Create().status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(Simple("Pause")));
  ASSERT_TRUE(Start().ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(Start().status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(Delete().status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(Simple("Resume")));
  EXPECT_TRUE(absl::IsNotFound(Wait("no-such").status()));
  EXPECT_THAT(std::string(Kill(9, "no-such").message()), HasSubstr("process does not exist no-such"));
  EXPECT_TRUE(absl::IsInvalidArgument(Simple("Checkpoint"))) << "without a path";
  ASSERT_TRUE(Kill(SIGKILL).ok());
  EXPECT_EQ(*Wait(), 137);
  EXPECT_TRUE(absl::IsNotFound(Kill(SIGTERM)));
  EXPECT_TRUE(absl::IsFailedPrecondition(Exec("late", {"true"})));
  EXPECT_EQ(*Delete(), 137);
}

TEST_F(LifecycleTest, AProgramThatIsNotThereIsNamedAndNothingIsLeft) {
  MakeBundle({"/no/such/program"});
  Serve();
  absl::Status status = Create().status();
  if (status.ok()) status = Start().status();
  EXPECT_TRUE(absl::IsUnknown(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such/program"));
  Delete().IgnoreError();
  EXPECT_TRUE(CgroupGone());
  for (const std::string& topic : Topics()) EXPECT_NE(topic, "/tasks/start");
}

TEST_F(LifecycleTest, AWaitingInitIsDeletedAndNeverRan) {
  MakeBundle({"touch", "/ran"});
  Serve();
  ASSERT_TRUE(Create().ok());
  EXPECT_EQ(*Delete(), 137);
  EXPECT_TRUE(CgroupGone());
  EXPECT_NE(access((root_ + "/ran").c_str(), F_OK), 0);
  RunUntil([this] { return events_.size() == 3; }, "events");
  EXPECT_THAT(Topics(), ElementsAre("/tasks/create", "/tasks/exit", "/tasks/delete"));
}

TEST_F(LifecycleTest, ExecsHaveExitsOfTheirOwnAndTheirIdsAreFreeAgain) {
  MakeBundle({"sleep", "1000"});
  Serve();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Start().ok());
  for (int code : {0, 42}) {
    ASSERT_TRUE(Exec("e", {"sh", "-c", "exit " + std::to_string(code)}).ok());
    EXPECT_TRUE(absl::IsAlreadyExists(Exec("e", {"true"})));
    const auto pid = Start("e");
    ASSERT_TRUE(pid.ok()) << pid.status();
    EXPECT_EQ(*Wait("e"), code);
    EXPECT_EQ(*Delete("e"), code);
  }
  RunUntil([this] { return events_.size() == 8; }, "events");
  EXPECT_THAT(Topics(),
              ElementsAre("/tasks/create", "/tasks/start", "/tasks/exec-added", "/tasks/exec-started",
                          "/tasks/exit", "/tasks/exec-added", "/tasks/exec-started", "/tasks/exit"));
  ASSERT_TRUE(Exec("e", {"/no/such/program"}).ok());
  EXPECT_THAT(std::string(Start("e").status().message()), HasSubstr("/no/such/program"));
  EXPECT_TRUE(Delete("e").ok());
  EXPECT_EQ(State()->status(), containerd::v1::types::RUNNING);
}

TEST_F(LifecycleTest, ExecsEndBeforeInitAndInitsExitIsTheLast) {
  MakeBundle({"sleep", "1000"});
  Serve();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Start().ok());
  ASSERT_TRUE(Exec("a", {"sleep", "1000"}).ok());
  ASSERT_TRUE(Start("a").ok());
  ASSERT_TRUE(Exec("b", {"sleep", "1000"}).ok());
  ASSERT_TRUE(Start("b").ok());
  ASSERT_TRUE(Kill(SIGKILL).ok());
  EXPECT_EQ(*Wait(), 137);
  EXPECT_EQ(*Wait("a"), 137);
  RunUntil([this] { return events_.size() == 9; }, "events");
  containerd::events::TaskExit last;
  ASSERT_TRUE(last.ParseFromString(events_.back().value));
  EXPECT_EQ(last.id(), id_);
}

TEST_F(LifecycleTest, WithoutAPidNamespaceInitsEndIsEverybodysEnd) {
  MakeBundle({"sh", "-c", "sleep 1000 & exit 3"}, [](oci::Spec* spec) {
    std::erase_if(spec->linux->namespaces,
                  [](const oci::Namespace& ns) { return ns.type == oci::NamespaceType::kPid; });
    spec->mounts.clear();  // a new /proc needs the namespace
    spec->linux->masked_paths.clear();
    spec->linux->readonly_paths.clear();
  });
  Serve();
  const auto created = Create();
  ASSERT_TRUE(created.ok()) << created.status();
  ASSERT_TRUE(Start().ok());
  EXPECT_EQ(*Wait(), 3);
  EXPECT_EQ(*Delete(), 3);
  EXPECT_TRUE(CgroupGone());
}

TEST_F(LifecycleTest, PausedAndResumedAndKilledWhilePaused) {
  MakeBundle({"sleep", "1000"});
  Serve();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Start().ok());
  absl::Status paused = Simple("Pause");
  ASSERT_TRUE(paused.ok()) << paused;
  EXPECT_EQ(State()->status(), containerd::v1::types::PAUSED);
  EXPECT_THAT(std::string(Exec("x", {"true"}).message()), HasSubstr("paused"));
  ASSERT_TRUE(Simple("Resume").ok());
  EXPECT_EQ(State()->status(), containerd::v1::types::RUNNING);
  ASSERT_TRUE(Simple("Pause").ok());
  ASSERT_TRUE(Kill(SIGKILL).ok());
  EXPECT_EQ(*Wait(), 137);
  RunUntil([this] { return events_.size() == 6; }, "events");
  EXPECT_THAT(Topics(), ElementsAre("/tasks/create", "/tasks/start", "/tasks/paused", "/tasks/resumed",
                                    "/tasks/paused", "/tasks/exit"));
}

TEST_F(LifecycleTest, PidsAndStats) {
  MakeBundle({"sleep", "1000"});
  Serve();
  const auto init = Create();
  ASSERT_TRUE(init.ok());
  ASSERT_TRUE(Start().ok());
  ASSERT_TRUE(Exec("e", {"sleep", "1000"}).ok());
  const auto exec = Start("e");
  ASSERT_TRUE(exec.ok());
  containerd::task::v3::PidsRequest request;
  request.set_id(id_);
  const auto pids = Call<containerd::task::v3::PidsResponse>("Pids", request);
  ASSERT_TRUE(pids.ok()) << pids.status();
  ASSERT_EQ(pids->processes_size(), 2);
  for (const auto& process : pids->processes()) {
    EXPECT_EQ(process.has_info(), static_cast<pid_t>(process.pid()) == *exec);
  }
  containerd::task::v3::StatsRequest stats_request;
  stats_request.set_id(id_);
  const auto stats = Call<containerd::task::v3::StatsResponse>("Stats", stats_request);
  ASSERT_TRUE(stats.ok()) << stats.status();
  EXPECT_THAT(stats->stats().type_url(), HasSubstr("io.containerd.cgroups.v"));
  EXPECT_GT(stats->stats().value().size(), 50u);
}

// ---- the daemon goes and comes ---------------------------------------------------------------------------

TEST_F(LifecycleTest, EventsWaitForADaemonThatWasKilled) {
  MakeBundle({"sh", "-c", "sleep 0.3; exit 5"});
  Serve();
  StopSink();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Start().ok());
  client_.reset();
  RunFor(absl::Milliseconds(800));
  StartSink();
  Connect(socket_path_);
  RunUntil([this] { return events_.size() == 3; }, "events");
  EXPECT_THAT(Topics(), ElementsAre("/tasks/create", "/tasks/start", "/tasks/exit"));
  EXPECT_EQ(*Wait(), 5);
  EXPECT_EQ(*Delete(), 5);
}

TEST_F(LifecycleTest, AShimWhoseBundleIsGoneEndsWhenNothingRuns) {
  MakeBundle({"sleep", "0.5"});
  Serve();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Start().ok());
  ASSERT_TRUE(sys::RemoveAllAt(AT_FDCWD, bundle_).ok());
  RunFor(absl::Milliseconds(200));
  EXPECT_FALSE(ShimGone()) << "something runs";
  client_.reset();
  RunUntil([this] { return ShimGone(); }, "the shim to end");
  EXPECT_TRUE(CgroupGone());
}

TEST_F(LifecycleTest, AnUnusedShimEndsWithItsBundle) {
  MakeBundle({"true"});
  Serve();
  client_.reset();
  ASSERT_TRUE(sys::RemoveAllAt(AT_FDCWD, bundle_).ok());
  RunUntil([this] { return ShimGone(); }, "the shim to end");
}

TEST_F(LifecycleTest, DeleteCleansUpAfterAShimThatWasKilled) {
  MakeBundle({"sleep", "1000"});
  Serve();
  const auto pid = Create();
  ASSERT_TRUE(pid.ok());
  ASSERT_TRUE(Start().ok());
  kill(shim_pid_, SIGKILL);
  RunUntil([this] { return ShimGone(); }, "the shim to end");
  EXPECT_EQ(kill(*pid, 0), 0) << "the container goes on";
  const auto output = RunShim({"-bundle", bundle_, "delete"}, "", "2");
  ASSERT_TRUE(output.ok()) << output.status();
  containerd::task::v3::DeleteResponse response;
  ASSERT_TRUE(response.ParseFromString(*output));
  EXPECT_EQ(response.pid(), static_cast<uint32_t>(*pid));
  EXPECT_EQ(response.exit_status(), 137u);
  EXPECT_TRUE(CgroupGone());
  RunUntil([pid] { return kill(*pid, 0) != 0; }, "the process to end");
  EXPECT_TRUE(RunShim({"-bundle", bundle_, "delete"}, "", "2").ok()) << "again, it is no error";
}

}  // namespace
}  // namespace gantry::shim
