// The conversation with criu, against a stand-in: criu itself works on few kernels, and a test must not depend on
// which: test_criu.h.
#include "runtime/container/criu.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/container/checkpoint.h"
#include "runtime/container/test_criu.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"

namespace gantry::container {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// ---- the tests ---------------------------------------------------------------------------------------------------

TEST(CriuWire, IsProtobuf) {
  CriuRequest request;
  request.type = CriuRequestType::kVersion;
  EXPECT_EQ(EncodeCriuRequest(request), std::string("\x08\x0a"));
  request.type = CriuRequestType::kNotify;
  EXPECT_EQ(EncodeCriuRequest(request), std::string("\x08\x06\x18\x01"));
  request.type = CriuRequestType::kDump;
  request.opts.images_dir_fd = 5;
  request.opts.pid = 300;
  request.opts.leave_running = true;
  request.opts.ext_mnt = {{"/a", "/b"}};
  const std::string opts =
      std::string("\x08\x05\x10\xac\x02\x18\x01\x48\x04\xba\x01\x08\x0a\x02/a\x12\x02/b", 20) +
      std::string("\xc0\x01\x01\x90\x02\x06", 6);
  EXPECT_EQ(EncodeCriuRequest(request), absl::StrCat(std::string("\x08\x01\x12\x1a", 4), opts));
}

TEST(CriuWire, ReadsAnswersAndSkipsWhatItDoesNotKnow) {
  const auto answer = DecodeCriuResponse(Field(1, 6) + Field(2, 1) + Field(31 % 16, "later") +
                                         Field(5, Field(1, "post-dump") + Field(2, 77)));
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->notify_script, "post-dump");
  EXPECT_EQ(answer->pid, 77);
  EXPECT_FALSE(DecodeCriuResponse(std::string("\x0a\x7f", 2)).ok()) << "longer than it is";
  EXPECT_FALSE(DecodeCriuResponse(std::string("\x80", 1)).ok());
  EXPECT_FALSE(DecodeCriuResponse(std::string(20, '\xff')).ok());
}

TEST(Descriptors, AreAJsonArray) {
  const std::vector<std::string> names = {"/dev/null", "pipe:[7]", "a\"b"};
  EXPECT_THAT(*DescriptorsFromJson(DescriptorsToJson(names)), testing::ElementsAreArray(names));
  EXPECT_FALSE(DescriptorsFromJson("{}").ok());
  EXPECT_FALSE(DescriptorsFromJson("[1]").ok());
}

class CriuTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(mkdtemp(directory_), nullptr);
    stage_ = absl::StrCat(directory_, "/images");
    ASSERT_EQ(mkdir(stage_.c_str(), 0700), 0);
    spec_ = oci::DefaultSpec();
    spec_.process->terminal = false;
    settings_.program = "/proc/self/exe";
    settings_.image_path = stage_;
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, directory_).ok()); }

  std::string Read(const std::string& name) {
    return sys::ReadFileAt(AT_FDCWD, absl::StrCat(stage_, "/", name), 1 << 20).value_or("none");
  }

  char directory_[32] = "/tmp/criu_test.XXXXXX";
  std::string stage_;
  oci::Spec spec_;
  CriuSettings settings_;
};

TEST_F(CriuTest, AMissingProgramIsNamed) {
  EXPECT_EQ(*CriuVersion("/proc/self/exe"), 31701);
  const absl::Status missing = CriuVersion("no-such-criu").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("no-such-criu is not installed"));
  EXPECT_THAT(std::string(CriuVersion("/bin/true").status().message()), HasSubstr("ended without an answer"));
}

TEST_F(CriuTest, ACheckpointTellsWhatBelongsToTheHost) {
  CheckpointOptions options;
  options.criu = settings_;
  options.criu.tcp_established = true;
  options.spec = &spec_;
  options.rootfs = "/bundle/rootfs";
  options.pid = getpid();
  oci::Mount bind;
  bind.type = "bind";
  bind.source = "/host/data";
  bind.destination = "/data";
  spec_.mounts.push_back(bind);
  spec_.linux->masked_paths = {"/proc/self/stat", "/no/such/file", "/proc"};
  const absl::Status status = Checkpoint(options);
  ASSERT_TRUE(status.ok()) << status;
  const std::string request = Read("request");
  EXPECT_THAT(request, HasSubstr("/bundle/rootfs"));
  EXPECT_THAT(request, HasSubstr("\x0a\x05/data\x12\x05/data"));
  EXPECT_THAT(request, HasSubstr("/proc/self/stat\x12\x09/dev/null"));
  EXPECT_FALSE(absl::StrContains(request, "/no/such/file"));
  EXPECT_THAT(request, HasSubstr("dump.log"));
  EXPECT_EQ(DescriptorsFromJson(Read("descriptors.json"))->size(), 3u);
}

TEST_F(CriuTest, APreDumpIsOfMemoryAlone) {
  ASSERT_EQ(mkdir((stage_ + "/before").c_str(), 0700), 0);
  CheckpointOptions options;
  options.criu = settings_;
  options.spec = &spec_;
  options.pid = getpid();
  options.pre_dump = true;
  options.parent_path = "before";
  EXPECT_TRUE(Checkpoint(options).ok());
  EXPECT_EQ(Read("request")[1], 4);
  EXPECT_EQ(Read("descriptors.json"), "none");
  options.parent_path = "/absolute";
  EXPECT_THAT(std::string(Checkpoint(options).message()), HasSubstr("relative"));
  options.parent_path = "missing";
  EXPECT_FALSE(Checkpoint(options).ok());
  options.parent_path = "";
  options.page_server = "nowhere";
  EXPECT_THAT(std::string(Checkpoint(options).message()), HasSubstr("ADDRESS:PORT"));
}

TEST_F(CriuTest, AFailureHasTheLogsOwnWords) {
  CheckpointOptions options;
  options.criu = settings_;
  options.spec = &spec_;
  options.pid = getpid();
  ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, stage_ + "/fail", "", 0600, sys::Durability::kVolatile).ok());
  const absl::Status status = Checkpoint(options);
  EXPECT_THAT(std::string(status.message()), HasSubstr("errno 3"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("Error (x.c:7): cannot see"));
  options.criu.manage_cgroups_mode = "odd";
  EXPECT_THAT(std::string(Checkpoint(options).message()), HasSubstr("--manage-cgroups-mode"));
}

class RestoreTest : public CriuTest {
 protected:
  void SetUp() override {
    CriuTest::SetUp();
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    for (const char* name : {"/rootfs", "/state"})
      ASSERT_EQ(mkdir(absl::StrCat(directory_, name).c_str(), 0700), 0);
    options_.criu = settings_;
    options_.create.id = "restored";
    options_.create.bundle = directory_;
    options_.create.spec = &spec_;
    options_.create.state_dir = absl::StrCat(directory_, "/state");
    const std::string name = absl::string_view(directory_).substr(5).data();
    spec_.linux->cgroups_path = absl::StrCat("/gantry-", name);
    ASSERT_EQ(pipe2(pipe_, O_CLOEXEC), 0);
    options_.create.stdio.out = pipe_[1];
    ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, stage_ + "/descriptors.json",
                                     "[\"/dev/null\",\"pipe:[7]\",\"/dev/null\"]", 0600,
                                     sys::Durability::kVolatile)
                    .ok());
  }
  void TearDown() override {
    if (pipe_[0] >= 0) close(pipe_[0]);
    if (pipe_[1] >= 0) close(pipe_[1]);
    CriuTest::TearDown();
  }

  int pipe_[2] = {-1, -1};
  RestoreOptions options_;
};

TEST_F(RestoreTest, TheProcessIsOursAndInItsCgroup) {
  oci::Hook hook;
  hook.path = "/bin/sh";
  hook.args = {"sh", "-c", absl::StrCat("cat >", directory_, "/state.json")};
  hook.env = {"PATH=/usr/bin:/bin"};
  spec_.hooks.create_runtime.push_back(hook);
  auto container = Restore(options_);
  ASSERT_TRUE(container.ok()) << container.status();
  EXPECT_GT(container->start_time, 0u);
  EXPECT_FALSE(container->pidfd.Exited());
  char text[16] = {};
  EXPECT_EQ(read(pipe_[0], text, sizeof text), 9);
  EXPECT_STREQ(text, "restored\n");
  const std::string request = Read("request");
  EXPECT_THAT(request, HasSubstr(absl::StrCat(directory_, "/state/criu-root")));
  EXPECT_THAT(request, HasSubstr("pipe:[7]\x10\x01"));
  EXPECT_THAT(request, HasSubstr(spec_.linux->cgroups_path));
  EXPECT_THAT(Read("cgroup"), HasSubstr(spec_.linux->cgroups_path));
  const std::string state =
      sys::ReadFileAt(AT_FDCWD, absl::StrCat(directory_, "/state.json"), 1 << 20).value_or("none");
  EXPECT_THAT(state, HasSubstr(absl::StrCat(container->pid)));
  EXPECT_NE(access(absl::StrCat(directory_, "/state/criu-root").c_str(), F_OK), 0);
  DeleteOptions end;
  end.pid = container->pid;
  end.pidfd = container->pidfd.fd();
  end.kill = true;
  end.cgroup = container->cgroup;
  EXPECT_TRUE(Delete(end).ok());
  auto status = container->pidfd.Reap(sys::PidFd::Block::kWait);
  EXPECT_TRUE(status.ok()) << "it is our child";
}

TEST_F(RestoreTest, AFailureLeavesNothing) {
  ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, stage_ + "/fail", "", 0600, sys::Durability::kVolatile).ok());
  EXPECT_FALSE(Restore(options_).ok());
  while (waitpid(-1, nullptr, 0) > 0) {
  }
  EXPECT_NE(access(absl::StrCat(directory_, "/state/criu-root").c_str(), F_OK), 0);
  EXPECT_NE(access(absl::StrCat("/sys/fs/cgroup/memory", spec_.linux->cgroups_path).c_str(), F_OK), 0);
  options_.criu.image_path = absl::StrCat(directory_, "/absent");
  EXPECT_EQ(Restore(options_).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace gantry::container
