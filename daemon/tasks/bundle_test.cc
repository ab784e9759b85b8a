#include "daemon/tasks/bundle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/socket.h"

namespace gantry::tasks {
namespace {

class BundleTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NE(mkdtemp(directory_), nullptr);
    state_ = absl::StrCat(directory_, "/s");
    bundles_ = std::make_unique<Bundles>(state_, absl::StrCat(directory_, "/r"));
    ASSERT_TRUE(bundles_->Prepare().ok());
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, directory_).ok()); }
  static mode_t Mode(const std::string& path) {
    struct stat st;
    return stat(path.c_str(), &st) == 0 ? st.st_mode & 07777 : 0;
  }
  char directory_[64] = "/tmp/gantry-bundle-XXXXXX";
  std::string state_;
  std::unique_ptr<Bundles> bundles_;
  const TaskKey key_{"ns", "c1"};
};

TEST_F(BundleTest, IsMadeClosedToOthersAndListed) {
  ASSERT_TRUE(bundles_->Create(key_, "{}", true).ok());
  const std::string path = bundles_->Path(key_);
  EXPECT_EQ(path, absl::StrCat(state_, "/io.containerd.runtime.v2.task/ns/c1"));
  EXPECT_EQ(Mode(path), 0700u);
  EXPECT_EQ(Mode(path + "/config.json"), 0600u);
  EXPECT_EQ(*sys::ReadFileAt(AT_FDCWD, path + "/config.json", 100), "{}");
  EXPECT_EQ(access((path + "/work").c_str(), F_OK), 0);
  EXPECT_THAT(*bundles_->List(), testing::ElementsAre(key_));
  EXPECT_FALSE(bundles_->Create(key_, "{}", true).ok());
}

TEST_F(BundleTest, UserNamespaceLetsItsRootGroupThrough) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root to give a directory away";
  ASSERT_TRUE(
      bundles_
          ->Create(key_, R"({"linux":{"gidMappings":[{"containerID":0,"hostID":130000,"size":9}]}})", false)
          .ok());
  struct stat st;
  ASSERT_EQ(stat(bundles_->Path(key_).c_str(), &st), 0);
  EXPECT_EQ(st.st_gid, 130000u);
  EXPECT_EQ(st.st_mode & 0777, 0710u);
}

TEST_F(BundleTest, RecordsAreReadBack) {
  ASSERT_TRUE(bundles_->Create(key_, "{}", false).ok());
  EXPECT_EQ(bundles_->ReadBootstrap(key_).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(bundles_->WriteBinary(key_, "/b/shim").ok());
  ASSERT_TRUE(bundles_->WriteBootstrap(key_, {3, "unix:///x", "ttrpc"}).ok());
  EXPECT_EQ(*bundles_->ReadBinary(key_), "/b/shim");
  EXPECT_EQ(bundles_->ReadBootstrap(key_)->address, "unix:///x");
}

TEST_F(BundleTest, ATaskThatNobodyWasToldOfIsMarkedUntilItIsCreated) {
  ASSERT_TRUE(bundles_->Create(key_, "{}", false).ok());
  EXPECT_FALSE(bundles_->IsCreating(key_));
  ASSERT_TRUE(bundles_->MarkCreating(key_).ok());
  EXPECT_TRUE(bundles_->IsCreating(key_));
  bundles_->ClearCreating(key_);
  EXPECT_FALSE(bundles_->IsCreating(key_));
  const TaskKey foreign{"ns", "foreign"};
  ASSERT_TRUE(bundles_->Create(foreign, "{}", true).ok());
  EXPECT_TRUE(bundles_->IsCreating(foreign));
}

TEST_F(BundleTest, WhatClientsWereToldIsRemembered) {
  EXPECT_EQ(bundles_->MarkEnding(key_).code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(bundles_->Create(key_, "{}", false).ok());
  EXPECT_FALSE(bundles_->IsEnding(key_));
  EXPECT_TRUE(bundles_->MarkEnding(key_).ok());
  EXPECT_TRUE(bundles_->MarkEnding(key_).ok());
  EXPECT_TRUE(bundles_->IsEnding(key_));
  EXPECT_EQ(bundles_->ReadExecTold(key_), "");
  bundles_->MarkExecTold(key_, "a-long-name 12 34.56");
  bundles_->MarkExecTold(key_, "e 12 34.56");
  EXPECT_EQ(bundles_->ReadExecTold(key_), "e 12 34.56");
  EXPECT_EQ(bundles_->ReadPid(key_), 0u);
  ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, bundles_->Path(key_) + "/init.pid", "123", 0644,
                                   sys::Durability::kVolatile)
                  .ok());
  EXPECT_EQ(bundles_->ReadPid(key_), 123u);
}

TEST_F(BundleTest, SocketsOfNobodyAreRemoved) {
  const auto path = [this](const char* id) { return *bundles_->SocketPath({"ns", id}, "/c.sock"); };
  const sys::UniqueFd served = *sys::ListenUnix(path("served"), SOCK_STREAM, 0600);
  for (const char* id : {"stray", "known"}) sys::ListenUnix(path(id), SOCK_STREAM, 0600)->reset();
  bundles_->RemoveStraySockets({{"ns", "known"}}, "/c.sock");
  EXPECT_EQ(access(path("served").c_str(), F_OK), 0);
  EXPECT_EQ(access(path("known").c_str(), F_OK), 0);
  EXPECT_NE(access(path("stray").c_str(), F_OK), 0);
}

TEST_F(BundleTest, TellsWhetherAContainerCanGoOnUnderAnotherShim) {
  ASSERT_TRUE(bundles_->Create(key_, "{}", false).ok());
  const auto write = [this](const std::string& name, const std::string& text) {
    ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, absl::StrCat(bundles_->Path(key_), "/", name), text, 0600,
                                     sys::Durability::kVolatile)
                    .ok());
  };
  EXPECT_TRUE(absl::IsNotFound(bundles_->ReadInit(key_).status()));
  write("gantry-state", "pid 12 34\nv1 /x\n");
  EXPECT_TRUE(absl::IsFailedPrecondition(bundles_->ReadInit(key_).status()));
  write("gantry-state", "pid 12 34\nadopt 1 0 0 0\nout file:///x\n");
  const auto init = bundles_->ReadInit(key_);
  ASSERT_TRUE(init.ok()) << init.status();
  EXPECT_EQ(init->pid, 12);
  EXPECT_EQ(init->start_time, 34u);
  write("exit", "{}");
  EXPECT_TRUE(absl::IsFailedPrecondition(bundles_->ReadInit(key_).status()));
  write("gantry-state", "nonsense");
  EXPECT_TRUE(absl::IsDataLoss(bundles_->ReadInit(key_).status()));
}

TEST_F(BundleTest, DiscardFreesThePlaceAndDestroyRemovesAll) {
  ASSERT_TRUE(bundles_->Create(key_, "{}", true).ok());
  const auto discarded = bundles_->Discard(key_);
  ASSERT_TRUE(discarded.ok());
  EXPECT_THAT(*bundles_->List(), testing::ElementsAre());
  EXPECT_EQ(*bundles_->Discard(key_), "");
  ASSERT_TRUE(bundles_->Destroy(*discarded).ok());
  EXPECT_NE(access(discarded->c_str(), F_OK), 0);
  EXPECT_NE(access(absl::StrCat(directory_, "/r/io.containerd.runtime.v2.task/ns/c1").c_str(), F_OK), 0);
  EXPECT_TRUE(bundles_->Create(key_, "{}", true).ok());
}

TEST_F(BundleTest, SocketsFitIntoAnAddressOrTheRuleIsNamed) {
  const auto path = bundles_->SocketPath(key_, "/c.sock");
  ASSERT_TRUE(path.ok());
  EXPECT_LE(path->size(), 107u);
  EXPECT_NE(*path, *bundles_->SocketPath({"ns", "c2"}, "/c.sock"));
  Bundles near_limit(absl::StrCat("/", std::string(85, 'x')), "/r");
  EXPECT_EQ(near_limit.SocketPath(key_, "/c.sock")->size(), 107u);
  Bundles too_long(absl::StrCat("/", std::string(95, 'x')), "/r");
  EXPECT_THAT(std::string(too_long.SocketPath(key_, "/c.sock").status().message()),
              testing::HasSubstr("shorter --state"));
}

}  // namespace
}  // namespace gantry::tasks
