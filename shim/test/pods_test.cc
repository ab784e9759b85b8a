// Several containers in one shim: groups, and the sandbox service.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "api/proto/containerd/events/task.pb.h"
#include "api/proto/containerd/runtime/bootstrap/v1/bootstrap.pb.h"
#include "api/proto/containerd/runtime/sandbox/v1/sandbox.pb.h"
#include "gmock/gmock.h"
#include "runtime/sys/file.h"
#include "shim/test/harness.h"

namespace gantry::shim {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

namespace v1 = containerd::runtime::sandbox::v1;

class PodsTest : public ShimTest {
 protected:
  ~PodsTest() override {
    client_.reset();
    if (shim_pid_ != 0 && !ShimGone()) kill(shim_pid_, SIGKILL);
    for (const auto& [name, place] : places_) {
      std::tie(id_, bundle_) = place;
      if (access(bundle_.c_str(), F_OK) == 0) RunShim({"-bundle", bundle_, "delete"}, "", "2").IgnoreError();
    }
  }

  // The container that the calls which follow are about.
  void Use(const std::string& name) {
    if (base_.empty()) base_ = id_;
    const std::string id = absl::StrCat(base_, "-", name);
    std::tie(id_, bundle_) =
        places_.try_emplace(name, id, absl::StrCat(directory_, "/b-", name)).first->second;
    ASSERT_TRUE(sys::MkdirAll(bundle_ + "/rootfs", 0700).ok());
  }
  pid_t Run(const std::string& name, std::vector<std::string> args) {
    Use(name);
    MakeBundle(std::move(args));
    const auto pid = Create();
    EXPECT_TRUE(pid.ok()) << pid.status();
    const auto started = Start();
    EXPECT_TRUE(started.ok()) << started.status();
    return pid.ok() ? *pid : 0;
  }
  void RemoveBundle() { ASSERT_TRUE(sys::RemoveAllAt(AT_FDCWD, bundle_).ok()); }
  static bool Alive(pid_t pid) { return kill(pid, 0) == 0; }

  template <typename Response, typename Request>
  absl::StatusOr<Response> CallSandbox(const char* method, Request request) {
    request.set_sandbox_id(base_ + "-pod");
    auto answer = CallRaw("containerd.runtime.sandbox.v1.Sandbox", method, request.SerializeAsString());
    if (!answer.ok()) return answer.status();
    Response response;
    EXPECT_TRUE(response.ParseFromString(*answer));
    return response;
  }
  absl::Status CreateSandbox() {
    Use("pod");
    v1::CreateSandboxRequest request;
    request.set_bundle_path(bundle_);
    auto* mount = request.add_rootfs();
    mount->set_type("bind");
    mount->set_source(root_);
    mount->add_options("rbind");
    return CallSandbox<v1::CreateSandboxResponse>("CreateSandbox", request).status();
  }
  absl::StatusOr<v1::SandboxStatusResponse> Status() {
    return CallSandbox<v1::SandboxStatusResponse>("SandboxStatus", v1::SandboxStatusRequest());
  }
  absl::Status Stop(uint32_t seconds) {
    v1::StopSandboxRequest request;
    request.set_timeout_secs(seconds);
    return CallSandbox<v1::StopSandboxResponse>("StopSandbox", request).status();
  }
  absl::StatusOr<v1::StartSandboxResponse> StartPod() {
    return CallSandbox<v1::StartSandboxResponse>("StartSandbox", v1::StartSandboxRequest());
  }
  absl::Status ShutdownSandbox() {
    return CallSandbox<v1::ShutdownSandboxResponse>("ShutdownSandbox", v1::ShutdownSandboxRequest()).status();
  }

  std::string base_;
  std::map<std::string, std::pair<std::string, std::string>> places_;
};

TEST_F(PodsTest, ContainersOfOneShimEndEachForItself) {
  Use("a");
  Serve();
  const pid_t a = Run("a", {"sh", "-c", "sleep 1000"});
  const pid_t b = Run("b", {"sh", "-c", "sleep 1000"});
  Use("a");
  EXPECT_TRUE(absl::IsAlreadyExists(Create().status()));
  ASSERT_TRUE(Kill(SIGKILL).ok());
  EXPECT_EQ(*Wait(), 137);
  EXPECT_EQ(*Delete(), 137);
  EXPECT_TRUE(CgroupGone());
  EXPECT_FALSE(Alive(a));
  RemoveBundle();  // the one for which the shim was started
  ASSERT_TRUE(Shutdown().ok());
  Use("b");
  EXPECT_TRUE(Alive(b));
  EXPECT_EQ(State()->status(), containerd::v1::types::RUNNING);
  ASSERT_TRUE(Exec("e", {"true"}).ok());
  ASSERT_TRUE(Start("e").ok());
  EXPECT_EQ(*Wait("e"), 0);
  ASSERT_TRUE(Kill(SIGKILL).ok());
  EXPECT_EQ(*Wait(), 137);
  EXPECT_FALSE(ShimGone());
  EXPECT_EQ(*Delete(), 137);
  ASSERT_TRUE(Shutdown().ok());
  RunUntil([this] { return ShimGone(); }, "the shim to end with the last one");
}

TEST_F(PodsTest, OneThatWasNeverStartedEndsWithItsBundle) {
  Use("a");
  Serve();
  const pid_t a = Run("a", {"sleep", "1000"});
  Use("b");
  MakeBundle({"sleep", "1000"});
  const auto b = Create();
  ASSERT_TRUE(b.ok()) << b.status();
  RemoveBundle();
  RunUntil([&] { return !Alive(*b) && absl::IsNotFound(State().status()); }, "b to end");
  EXPECT_TRUE(CgroupGone());
  EXPECT_TRUE(Alive(a));
  Use("a");
  RemoveBundle();
  RunFor(absl::Milliseconds(50));
  EXPECT_TRUE(Alive(a)) << "it runs";
  ASSERT_EQ(kill(a, SIGKILL), 0);
  RunUntil([this] { return ShimGone(); }, "the shim to end: nobody can ask for anything any more");
  EXPECT_TRUE(CgroupGone());
}

TEST_F(PodsTest, AGroupHasOneShim) {
  std::string address;
  for (const char* name : {"a", "b"}) {
    Use(name);
    MakeBundle({"sleep", "1000"},
               [this](oci::Spec* spec) { spec->annotations["io.containerd.runc.v2.group"] = base_; });
    containerd::runtime::bootstrap::v1::BootstrapParams params;
    params.set_instance_id(id_);
    params.set_namespace_("shimtest");
    params.set_containerd_ttrpc_address(events_path_);
    params.set_containerd_grpc_address(directory_ + "/grpc");
    params.set_socket_dir(directory_);
    const auto answer = StartCommand(params.SerializeAsString(), "2");
    ASSERT_TRUE(answer.ok()) << answer.status();
    containerd::runtime::bootstrap::v1::BootstrapResult result;
    ASSERT_TRUE(result.ParseFromString(*answer));
    if (address.empty()) address = result.address();
    EXPECT_EQ(result.address(), address);
    EXPECT_EQ(*sys::ReadFileAt(AT_FDCWD, bundle_ + "/address", 1000), address);
    Connect(std::string(absl::StripPrefix(address, "unix://")));
    ASSERT_TRUE(Create().ok());
    ASSERT_TRUE(Start().ok());
  }
  const std::string socket(absl::StripPrefix(address, "unix://"));
  Use("a");
  ASSERT_TRUE(RunShim({"-bundle", bundle_, "delete"}, "", "2").ok());
  EXPECT_EQ(*Wait(), 137);
  EXPECT_EQ(access(socket.c_str(), F_OK), 0) << "the other one needs it";
  EXPECT_EQ(*Delete(), 137);
  Use("b");
  EXPECT_EQ(State()->status(), containerd::v1::types::RUNNING);
  ASSERT_TRUE(Kill(SIGKILL).ok());
  EXPECT_EQ(*Wait(), 137);
  EXPECT_EQ(*Delete(), 137);
  ASSERT_TRUE(Shutdown().ok());
  RunUntil([this] { return ShimGone(); }, "the shim to end");
  EXPECT_NE(access(socket.c_str(), F_OK), 0);
}

TEST_F(PodsTest, ASandboxWithoutAProcessHoldsContainers) {
  Use("pod");
  Serve();
  EXPECT_TRUE(absl::IsNotFound(Status().status()));
  // What `ctr sandboxes run` makes of an empty configuration.
  ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, bundle_ + "/config.json", R"({"ociVersion":""})", 0600,
                                   sys::Durability::kVolatile)
                  .ok());
  ASSERT_TRUE(CreateSandbox().ok());
  EXPECT_TRUE(absl::IsAlreadyExists(CreateSandbox()));
  EXPECT_EQ(Status()->state(), "SANDBOX_NOTREADY");
  const auto started = StartPod();
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(started->pid(), static_cast<uint32_t>(shim_pid_));
  EXPECT_TRUE(absl::IsFailedPrecondition(StartPod().status()));
  EXPECT_EQ(Status()->state(), "SANDBOX_READY");
  EXPECT_EQ((CallSandbox<v1::PlatformResponse>("Platform", v1::PlatformRequest())->platform().os()), "linux");
  EXPECT_TRUE((CallSandbox<v1::PingResponse>("PingSandbox", v1::PingRequest()).ok()));
  const pid_t a = Run("a", {"sleep", "1000"});
  ASSERT_TRUE(Shutdown().ok());
  ASSERT_TRUE(Kill(SIGKILL).ok());
  EXPECT_EQ(*Wait(), 137);
  EXPECT_EQ(*Delete(), 137);
  EXPECT_FALSE(Alive(a));
  ASSERT_TRUE(Shutdown().ok());
  RunFor(absl::Milliseconds(100));
  EXPECT_FALSE(ShimGone()) << "the sandbox outlives its containers";
  const pid_t b = Run("b", {"sleep", "1000"});
  ASSERT_TRUE(Stop(0).ok());
  EXPECT_FALSE(Alive(b));
  EXPECT_EQ(*Wait(), 137);
  EXPECT_EQ(Status()->state(), "SANDBOX_NOTREADY");
  EXPECT_TRUE(Status()->has_exited_at());
  Use("late");
  MakeBundle({"true"});
  EXPECT_TRUE(absl::IsFailedPrecondition(Create().status()));
  EXPECT_EQ((CallSandbox<v1::WaitSandboxResponse>("WaitSandbox", v1::WaitSandboxRequest())->exit_status()),
            0u);
  Use("b");
  EXPECT_TRUE(ShutdownSandbox().ok());
  RunUntil([this] { return ShimGone(); }, "the shim to end");
  EXPECT_TRUE(CgroupGone());
}

TEST_F(PodsTest, TheProcessOfASandboxIsItsLife) {
  Use("pod");
  MakeBundle({"sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done"});
  Serve();
  ASSERT_TRUE(CreateSandbox().ok());
  const auto started = StartPod();
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_NE(started->pid(), static_cast<uint32_t>(shim_pid_));
  EXPECT_TRUE(Alive(static_cast<pid_t>(started->pid())));
  EXPECT_GT(started->created_at().seconds(), 0);
  EXPECT_EQ(Status()->pid(), started->pid());
  const auto metrics = CallSandbox<v1::SandboxMetricsResponse>("SandboxMetrics", v1::SandboxMetricsRequest());
  ASSERT_TRUE(metrics.ok()) << metrics.status();
  EXPECT_THAT(metrics->metrics().data().type_url(), HasSubstr("io.containerd.cgroups."));
  RunFor(absl::Milliseconds(200));  // the trap is set
  ASSERT_TRUE(Stop(10).ok());
  EXPECT_EQ((CallSandbox<v1::WaitSandboxResponse>("WaitSandbox", v1::WaitSandboxRequest())->exit_status()),
            3u);
  EXPECT_THAT(Topics(), IsEmpty()) << "it is no task";
  EXPECT_TRUE(ShutdownSandbox().ok());
  RunUntil([this] { return ShimGone(); }, "the shim to end");
  EXPECT_TRUE(CgroupGone());
}

TEST_F(PodsTest, ShutdownEndsWhatRuns) {
  Use("pod");
  MakeBundle({"sleep", "1000"});
  Serve();
  ASSERT_TRUE(CreateSandbox().ok());
  const auto started = StartPod();
  ASSERT_TRUE(started.ok()) << started.status();
  const pid_t a = Run("a", {"sleep", "1000"});
  Use("pod");
  EXPECT_TRUE(ShutdownSandbox().ok());
  RunUntil([this] { return ShimGone(); }, "the shim to end");
  EXPECT_FALSE(Alive(static_cast<pid_t>(started->pid())));
  EXPECT_FALSE(Alive(a));
  EXPECT_TRUE(CgroupGone());
  Use("a");
  EXPECT_TRUE(CgroupGone());
  EXPECT_THAT(Topics(), ElementsAre("/tasks/create", "/tasks/start", "/tasks/exit"));
}

TEST_F(PodsTest, ASandboxThatCannotRunLeavesTheShimFree) {
  Use("pod");
  MakeBundle({"no-such-program"});
  Serve();
  EXPECT_FALSE(CreateSandbox().ok());
  EXPECT_TRUE(absl::IsNotFound(Status().status()));
  MakeBundle({"sleep", "1000"});
  EXPECT_TRUE(CreateSandbox().ok());
  EXPECT_TRUE(ShutdownSandbox().ok());
  RunUntil([this] { return ShimGone(); }, "the shim to end");
}

}  // namespace
}  // namespace gantry::shim
