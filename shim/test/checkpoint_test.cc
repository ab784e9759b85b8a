// Checkpoint and restore through the shim, with a stand-in for criu (which works on few kernels): this test program.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "api/any/any.h"
#include "api/proto/containerd/types/runc/options/oci.pb.h"
#include "gmock/gmock.h"
#include "runtime/container/test_criu.h"
#include "runtime/sys/file.h"
#include "shim/test/harness.h"

namespace gantry::shim {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

namespace v3 = containerd::task::v3;

class CheckpointTest : public ShimTest {
 protected:
  void SetUp() override {
    ShimTest::SetUp();
    if (IsSkipped()) return;
    char self[4096];
    const ssize_t size = readlink("/proc/self/exe", self, sizeof(self));
    ASSERT_GT(size, 0);
    UseCriu(std::string(self, static_cast<size_t>(size)));
    images_ = directory_ + "/images";
    ASSERT_EQ(mkdir(images_.c_str(), 0700), 0);
  }
  void UseCriu(const std::string& program) {
    containerd::runc::v1::Options options;
    options.set_criu_path(program);
    any::Pack(options, &options_);
  }
  absl::Status Checkpoint() {
    v3::CheckpointTaskRequest request;
    request.set_id(id_);
    request.set_path(images_);
    return CallRaw("containerd.task.v3.Task", "Checkpoint", request.SerializeAsString()).status();
  }
  void MakeImages() {
    ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, images_ + "/descriptors.json",
                                     "[\"/dev/null\",\"/dev/null\",\"/dev/null\"]", 0600,
                                     sys::Durability::kVolatile)
                    .ok());
    checkpoint_ = images_;
  }
  std::string images_;
};

TEST_F(CheckpointTest, ARunningContainerIsWritten) {
  MakeBundle({"sleep", "1000"});
  Serve();
  ASSERT_TRUE(Create().ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(Checkpoint())) << "it was not started";
  ASSERT_TRUE(Start().ok());
  const absl::Status written = Checkpoint();
  ASSERT_TRUE(written.ok()) << written;
  EXPECT_EQ(access((images_ + "/descriptors.json").c_str(), F_OK), 0);
  EXPECT_EQ(access((images_ + "/request").c_str(), F_OK), 0);
  EXPECT_NE(access((bundle_ + "/criu-work").c_str(), F_OK), 0);
  RunUntil([this] { return events_.size() == 3; }, "events");
  EXPECT_THAT(Topics(), Contains("/tasks/checkpointed"));
  ASSERT_TRUE(Simple("Pause").ok());
  EXPECT_TRUE(Checkpoint().ok()) << "a paused one too";
  ASSERT_TRUE(Kill(SIGKILL).ok());
  EXPECT_EQ(*Wait(), 137);
  EXPECT_TRUE(absl::IsFailedPrecondition(Checkpoint()));
  EXPECT_EQ(*Delete(), 137);
}

TEST_F(CheckpointTest, AFailureHasCriusWordsAndTheContainerRunsOn) {
  MakeBundle({"sleep", "1000"});
  Serve();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Start().ok());
  close(creat((images_ + "/fail").c_str(), 0600));
  const absl::Status failed = Checkpoint();
  EXPECT_TRUE(absl::IsUnknown(failed)) << failed;
  EXPECT_THAT(std::string(failed.message()), HasSubstr("OCI runtime checkpoint failed: criu failed"));
  EXPECT_EQ(State()->status(), containerd::v1::types::RUNNING);
}

TEST_F(CheckpointTest, WithoutCriuTheErrorSaysSo) {
  UseCriu("no-such-criu");
  MakeBundle({"sleep", "1000"});
  Serve();
  ASSERT_TRUE(Create().ok());
  ASSERT_TRUE(Start().ok());
  EXPECT_THAT(std::string(Checkpoint().message()), HasSubstr("no-such-criu is not installed"));
}

TEST_F(CheckpointTest, ARestoredContainerRunsFromItsStart) {
  MakeImages();
  MakeBundle({"true"});
  Serve();
  const std::string out = directory_ + "/out";
  const auto created = Create({"", "file://" + out, "", false});
  ASSERT_TRUE(created.ok()) << created.status();
  EXPECT_EQ(*created, 0);
  EXPECT_EQ(State()->status(), containerd::v1::types::CREATED);
  EXPECT_TRUE(absl::IsFailedPrecondition(Kill(SIGTERM)));
  const auto pid = Start();
  ASSERT_TRUE(pid.ok()) << pid.status();
  EXPECT_GT(*pid, 1);
  EXPECT_EQ(State()->status(), containerd::v1::types::RUNNING);
  EXPECT_EQ(State()->pid(), static_cast<uint32_t>(*pid));
  EXPECT_FALSE(CgroupGone());
  EXPECT_FALSE(absl::StrContains(*sys::ReadFileAt(AT_FDCWD, "/proc/self/mountinfo", 16 << 20), bundle_));
  RunUntil([&] { return sys::ReadFileAt(AT_FDCWD, out, 100).value_or("") == "restored\n"; }, "its output");
  ASSERT_TRUE(Kill(SIGKILL).ok());
  EXPECT_EQ(*Wait(), 137);
  EXPECT_EQ(*Delete(), 137);
  EXPECT_TRUE(CgroupGone());
  RunUntil([this] { return events_.size() == 4; }, "events");
  EXPECT_THAT(Topics(), ElementsAre("/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"));
}

TEST_F(CheckpointTest, ARestoreThatFailsIsOverAndLeavesNothing) {
  MakeImages();
  close(creat((images_ + "/fail").c_str(), 0600));
  MakeBundle({"true"});
  Serve();
  ASSERT_TRUE(Create().ok());
  const absl::Status failed = Start().status();
  EXPECT_THAT(std::string(failed.message()), HasSubstr("OCI runtime restore failed: criu failed"));
  EXPECT_EQ(*Wait(), 255);
  EXPECT_EQ(*Delete(), 255);
  EXPECT_TRUE(CgroupGone());
}

TEST_F(CheckpointTest, ARestoredContainerThatWasNeverStartedIsDeleted) {
  MakeImages();
  MakeBundle({"true"});
  Serve();
  ASSERT_TRUE(Create().ok());
  EXPECT_EQ(*Delete(), 137);
  EXPECT_TRUE(Shutdown().ok());
  RunUntil([this] { return ShimGone(); }, "the shim to end");
}

}  // namespace
}  // namespace gantry::shim
