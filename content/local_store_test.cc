#include "content/local_store.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "content/store_suite.h"
#include "runtime/sys/status.h"

namespace gantry::content {

INSTANTIATE_TEST_SUITE_P(Local, StoreSuite, ::testing::Values(StoreMaker([](const std::string& root) {
                           return LocalStore::Create(root + "/content");
                         })));

namespace {

class LocalStoreTest : public StoreSuite {
 protected:
  std::string IngestPath(const std::string& ref) { return dir_ + "/content/ingest/" + Digest::Of(ref).hex(); }
  std::string BlobPath(const Digest& digest) { return dir_ + "/content/blobs/sha256/" + digest.hex(); }
};
INSTANTIATE_TEST_SUITE_P(Local, LocalStoreTest, ::testing::Values(StoreMaker([](const std::string& root) {
                           return LocalStore::Create(root + "/content");
                         })));

TEST_P(LocalStoreTest, LayoutIsContainerds) {
  const Digest digest = Put("abc");
  struct stat st;
  ASSERT_EQ(stat(BlobPath(digest).c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0444u);
  ASSERT_EQ(stat((dir_ + "/content").c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 07777, 0700u);
  auto writer = store_->OpenWriter({.ref = "my ref", .total_bytes = 7});
  EXPECT_EQ(*sys::ReadFileAt(AT_FDCWD, IngestPath("my ref") + "/ref", 100), "my ref");
  EXPECT_EQ(*sys::ReadFileAt(AT_FDCWD, IngestPath("my ref") + "/total", 100), "7");
  for (const char* name : {"/data", "/startedat", "/updatedat"}) {
    EXPECT_EQ(access((IngestPath("my ref") + name).c_str(), F_OK), 0) << name;
  }
}

TEST_P(LocalStoreTest, FlippedByteAndShortBlobAreDataLoss) {
  const Digest flipped = Put("flipped"), cut = Put("cut short");
  ASSERT_EQ(chmod(BlobPath(flipped).c_str(), 0600), 0);
  ASSERT_TRUE(
      sys::WriteFileAtomic(AT_FDCWD, BlobPath(flipped), "flopped", 0444, sys::Durability::kVolatile).ok());
  ASSERT_EQ(truncate(BlobPath(cut).c_str(), 3), 0);
  EXPECT_TRUE(absl::IsDataLoss(ReadBlob(*store_, flipped, 100).status()));
  EXPECT_TRUE(absl::IsDataLoss(ReadBlob(*store_, cut, 100).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(ReadBlob(*store_, cut, 2).status()));
}

TEST_P(LocalStoreTest, DamagedIngestBeginsAnewAndHalfMadeOnesGoAtStart) {
  for (const char* file : {"startedat", "ref"}) {
    ASSERT_TRUE(Begin("r")->Write("abc").ok());
    ASSERT_EQ(truncate((IngestPath("r") + "/" + file).c_str(), 0), 0) << file;
    auto writer = Begin("r");
    EXPECT_EQ(writer->Status()->offset, 0) << file;
  }
  ASSERT_EQ(unlink((IngestPath("r") + "/ref").c_str()), 0);
  Reopen();
  EXPECT_NE(access(IngestPath("r").c_str(), F_OK), 0);
}

TEST_P(LocalStoreTest, IngestCutShortBehindTheWritersBackIsNotCommitted) {
  auto writer = Begin("r");
  ASSERT_TRUE(writer->Write("abcdef").ok());
  ASSERT_EQ(truncate((IngestPath("r") + "/data").c_str(), 2), 0);
  EXPECT_TRUE(absl::IsDataLoss(writer->Commit(0, std::nullopt).status()));
}

TEST_P(LocalStoreTest, IngestOfAKilledWriterIsResumed) {
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
  const pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    auto writer = store_->OpenWriter({.ref = "r"});
    if (!writer.ok() || !(*writer)->Write("first half, ").ok() || write(fds[1], "x", 1) != 1) _exit(1);
    for (;;) pause();
  }
  char byte;
  ASSERT_EQ(read(fds[0], &byte, 1), 1);
  kill(pid, SIGKILL);
  waitpid(pid, nullptr, 0);
  close(fds[0]);
  close(fds[1]);
  auto writer = Begin("r");
  EXPECT_EQ(writer->Status()->offset, 12);
  ASSERT_TRUE(writer->Write("second half").ok());
  EXPECT_TRUE(writer->Commit(0, Digest::Of("first half, second half")).ok());
}

TEST_P(LocalStoreTest, ManyWritersOfTheSameBytesLeaveOneBlob) {
  std::vector<std::thread> threads;
  std::atomic<int> committed{0};
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&, i] {
      auto writer = store_->OpenWriter({.ref = absl::StrCat("r", i)});
      ASSERT_TRUE(writer.ok() && (*writer)->Write("same").ok());
      const absl::Status status = (*writer)->Commit(0, std::nullopt).status();
      if (status.ok()) ++committed;
      EXPECT_TRUE(status.ok() || absl::IsAlreadyExists(status)) << status;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(committed, 1);
  EXPECT_EQ(Get(Digest::Of("same")), "same");
  EXPECT_TRUE(store_->ListStatuses()->empty());
}

// In a child, in a mount namespace of its own, so that nothing is left behind.
TEST_P(LocalStoreTest, FullDiskIsAClearErrorAndTheIngestGoesOnAfterwards) {
  const pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    if (unshare(CLONE_NEWNS) != 0) _exit(77);
    if (mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) != 0) _exit(77);
    if (mount("tmpfs", dir_.c_str(), "tmpfs", 0, "size=256k") != 0) _exit(77);
    auto store = LocalStore::Create(dir_ + "/content");
    if (!store.ok()) _exit(1);
    auto filler = (*store)->OpenWriter({.ref = "filler"});
    auto writer = (*store)->OpenWriter({.ref = "r"});
    if (!filler.ok() || !writer.ok()) _exit(2);
    while ((*filler)->Write(std::string(4096, 'f')).ok()) {
    }
    const absl::Status full = (*writer)->Write(std::string(8192, 'x'));
    if (full.code() != absl::StatusCode::kResourceExhausted) _exit(3);
    if ((*writer)->Status()->offset != 0) _exit(4);
    filler->reset();
    if (!(*store)->Abort("filler").ok()) _exit(5);
    if (!(*writer)->Write(std::string(8192, 'x')).ok()) _exit(6);
    if (!(*writer)->Commit(8192, std::nullopt).ok()) _exit(7);
    _exit(0);
  }
  int status;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "needs the right to mount a tmpfs";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace gantry::content
