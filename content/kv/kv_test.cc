#include "content/kv/kv.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <iterator>
#include <map>
#include <optional>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/sanitizer.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::kv {
namespace {

class KvTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry-kv-test-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
  }
  void TearDown() override {
    db_.reset();
    EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, dir_).ok());
  }
  absl::Status Open() {
    db_.reset();
    auto db = Database::Open({.path = dir_ + "/db", .families = {"a", "b"}});
    if (!db.ok()) return db.status();
    db_ = *std::move(db);
    return absl::OkStatus();
  }
  absl::Status Put(absl::string_view family, absl::string_view key, absl::string_view value) {
    WriteBatch batch;
    batch.Put(family, key, value);
    return db_->Write(batch, Durability::kSynced);
  }
  std::string Keys(Iterator& it) {
    std::string keys;
    for (; it.Valid(); it.Next()) absl::StrAppend(&keys, it.key(), " ");
    EXPECT_TRUE(it.status().ok()) << it.status();
    return keys;
  }

  std::string dir_;
  std::unique_ptr<Database> db_;
};

TEST_F(KvTest, BatchIsAppliedWholeAndSurvivesReopening) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(Put("a", "gone", "x").ok());
  WriteBatch batch, more;
  batch.Put("a", "k", "1");
  batch.Delete("a", "gone");
  more.Put("b", "k", std::string("\0binary\xff", 8));
  more.Put("a", "k", "2");
  batch.Append(more);
  ASSERT_TRUE(db_->Write(batch, Durability::kSynced).ok());
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(*db_->Get("a", "k"), "2");
  EXPECT_EQ(*db_->Get("b", "k"), std::string("\0binary\xff", 8));
  EXPECT_EQ(db_->Get("a", "gone").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(KvTest, UnknownFamilyIsRefusedAndNothingOfTheBatchIsWritten) {
  ASSERT_TRUE(Open().ok());
  WriteBatch batch;
  batch.Put("a", "k", "1");
  batch.Put("nope", "k", "1");
  EXPECT_EQ(db_->Write(batch, Durability::kSynced).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(db_->Get("a", "k").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(db_->Scan("nope", "")->status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(KvTest, ScanStaysInsideThePrefix) {
  ASSERT_TRUE(Open().ok());
  for (absl::string_view key : {"p", "p/1", "p/2", "p/\xff", "p0", "o", "\xff", "\xff\xff"}) {
    ASSERT_TRUE(Put("a", key, "v").ok());
  }
  EXPECT_EQ(Keys(*db_->Scan("a", "p/")), "p/1 p/2 p/\xff ");
  EXPECT_EQ(Keys(*db_->Scan("a", "\xff")), "\xff \xff\xff ");
  auto it = db_->Scan("a", "p/");
  it->Seek("p/2");
  EXPECT_EQ(Keys(*it), "p/2 p/\xff ");
  it->Seek("a");
  EXPECT_EQ(it->key(), "p/1");
}

TEST_F(KvTest, SnapshotDoesNotSeeLaterWrites) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(Put("a", "k1", "old").ok());
  auto snapshot = db_->NewSnapshot();
  ASSERT_TRUE(Put("a", "k1", "new").ok());
  ASSERT_TRUE(Put("a", "k2", "new").ok());
  EXPECT_EQ(*snapshot->Get("a", "k1"), "old");
  EXPECT_EQ(Keys(*snapshot->Scan("a", "k")), "k1 ");
  EXPECT_EQ(Keys(*db_->Scan("a", "k")), "k1 k2 ");
}

TEST_F(KvTest, SecondOpenIsRefusedWithTheReason) {
  ASSERT_TRUE(Open().ok());
  auto second = Database::Open({.path = dir_ + "/db", .families = {"a"}});
  ASSERT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition) << second.status();
  EXPECT_NE(second.status().message().find("open in another process"), absl::string_view::npos);
}

TEST_F(KvTest, AcknowledgedWritesSurviveSigkill) {
  int fds[2];
  ASSERT_EQ(pipe2(fds, O_CLOEXEC), 0);
  const pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) {
    if (!Open().ok()) _exit(1);
    for (int i = 0;; ++i) {
      if (!Put("a", absl::StrCat("k", i), "v").ok()) _exit(2);
      if (write(fds[1], &i, sizeof i) != sizeof i) _exit(3);
    }
  }
  close(fds[1]);
  int last = -1;
  while (last < 200) ASSERT_EQ(read(fds[0], &last, sizeof last), static_cast<ssize_t>(sizeof last));
  kill(pid, SIGKILL);
  while (read(fds[0], &last, sizeof last) == static_cast<ssize_t>(sizeof last)) {
  }
  close(fds[0]);
  int status;
  waitpid(pid, &status, 0);
  ASSERT_TRUE(Open().ok());
  for (int i = 0; i <= last; ++i) EXPECT_TRUE(db_->Get("a", absl::StrCat("k", i)).ok()) << i;
}

TEST_F(KvTest, DamagedFileIsDataLoss) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(Put("a", "k", "v").ok());
  db_.reset();
  auto current = sys::ReadFileAt(AT_FDCWD, dir_ + "/db/CURRENT", 100);
  ASSERT_TRUE(current.ok());
  const std::string manifest = dir_ + "/db/" + current->substr(0, current->size() - 1);
  ASSERT_EQ(truncate(manifest.c_str(), 0), 0);
  ASSERT_TRUE(
      sys::WriteFileAtomic(AT_FDCWD, manifest, std::string(4096, 'x'), 0600, sys::Durability::kVolatile)
          .ok());
  EXPECT_EQ(Open().code(), absl::StatusCode::kDataLoss);
}

// The body of the next test: in a child, in a mount namespace of its own. Returns the exit status.
int FillTheDisk(const std::string& dir) {
  if (unshare(CLONE_NEWNS) != 0 || mount("", "/", "", MS_REC | MS_PRIVATE, nullptr) != 0 ||
      mount("tmpfs", dir.c_str(), "tmpfs", 0, "size=16m") != 0) {
    return 77;
  }
  Options options;
  options.path = dir + "/db";
  options.families = {"a"};
  auto opened = Database::Open(options);
  if (!opened.ok()) return 1;
  std::unique_ptr<Database> db = *std::move(opened);
  const auto change = [&](const std::string& key, const std::optional<std::string>& value) {
    WriteBatch batch;
    if (value.has_value()) {
      batch.Put("a", key, *value);
    } else {
      batch.Delete("a", key);
    }
    return db->Write(batch, Durability::kSynced);
  };
  for (int i = 0; i < 100; ++i) {
    if (!change(absl::StrCat("k", i), "v").ok()) return 2;
  }
  const std::string filler = dir + "/filler";
  const sys::UniqueFd fd(open(filler.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  const std::string page(4096, 'f');
  while (write(fd.get(), page.data(), page.size()) > 0) {
  }
  // Removing must go on, so that there is space again: the log's blocks were reserved before.
  for (int i = 0; i < 100; ++i) {
    if (!change(absl::StrCat("k", i), std::nullopt).ok()) return 3;
  }
  const std::string big(1 << 20, 'b');  // more than the log is allocated ahead
  if (change("more", big).code() != absl::StatusCode::kResourceExhausted) return 4;
  // Restarts on the full disk live on the ballast, and must not use it up.
  for (int i = 0; i < 2; ++i) {
    db.reset();
    auto restarted = Database::Open(options);
    if (!restarted.ok()) {
      fprintf(stderr, "on the full disk: %s\n", restarted.status().ToString().c_str());
      return 10 + i;
    }
    db = *std::move(restarted);
    if (!change("k0", std::nullopt).ok()) return 12 + i;
  }
  if (ftruncate(fd.get(), 0) != 0) return 5;
  if (const absl::Status healed = change("after", "v"); !healed.ok()) {
    fprintf(stderr, "after the disk had space again: %s\n", healed.ToString().c_str());
    return 6;
  }
  db.reset();
  auto again = Database::Open(options);
  if (!again.ok()) return 7;
  if (!(*again)->Get("a", "after").ok() || (*again)->Get("a", "more").ok()) return 8;
  return absl::IsNotFound((*again)->Get("a", "k0").status()) ? 0 : 9;
}

TEST_F(KvTest, FullDiskStopsGrowthButNotRemovalAndHealsWithSpace) {
  if (sys::kThreadSanitizer)
    GTEST_SKIP() << "the sanitizer knows no threads in a fork of a process that has some";
  const pid_t pid = fork();
  ASSERT_GE(pid, 0);
  if (pid == 0) _exit(FillTheDisk(dir_));
  int status;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "needs the right to mount a tmpfs";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

// A disk that is filled and freed again and again under a store that turns over more than it holds, so that logs,
// tables and manifests are written at every degree of fullness. What was acknowledged, and nothing else, must be there.
class FullDisk {
 public:
  // `dir` is the root of the disk.
  explicit FullDisk(const std::string& dir) : dir_(dir) {
    options_.path = dir + "/db";
    options_.families = {"a"};
    options_.write_buffer_bytes = 256 << 10;
  }

  // 0, or where it went wrong.
  int Run() {
    filler_.reset(open((dir_ + "/filler").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    if (!Reopen()) return 1;
    for (int round = 0; round < 20; ++round) {
      const uint64_t leave[] = {0, 0, 60 << 10, 400 << 10, 1500 << 10, 4 << 20, 32 << 20};
      if (!Fill(leave[random_() % std::size(leave)])) return 2;
      for (int i = 0; i < 60; ++i) {
        if (!Change()) return 3;
      }
      if (!Verify()) return 4;
      if (round % 5 == 4 && !Reopen()) return 5;
      if (ftruncate(filler_.get(), 0) != 0 || !Put(0)) return 6;
    }
    // Most changes of the full rounds were refused, and many were not.
    return refused_ > 30 && done_ > 150 && Verify() ? 0 : 7;
  }

 private:
  bool Reopen() {
    db_.reset();
    auto opened = Database::Open(options_);
    if (absl::IsResourceExhausted(opened.status()) && ftruncate(filler_.get(), 0) == 0) {
      opened = Database::Open(options_);
    }
    if (!opened.ok()) return Complain("opening", opened.status());
    db_ = *std::move(opened);
    return true;
  }
  bool Fill(uint64_t leave) {
    const std::string page(16 << 10, 'f');
    struct statvfs fs;
    while (statvfs(dir_.c_str(), &fs) == 0 && fs.f_bfree * fs.f_frsize > leave) {
      if (write(filler_.get(), page.data(), page.size()) <= 0) break;
    }
    return lseek(filler_.get(), 0, SEEK_SET) == 0;
  }
  bool Put(int number) {
    std::string value(random_() % 30000, '\0');
    for (char& c : value) c = static_cast<char>(random_());
    WriteBatch batch;
    batch.Put("a", absl::StrCat("k", number), value);
    const absl::Status status = db_->Write(batch, Durability::kSynced);
    if (status.ok()) model_[number] = value;
    return status.ok() || Complain("put", status);
  }
  bool Change() {
    const int number = static_cast<int>(random_() % 100);
    if (random_() % 3 != 0) {
      const size_t before = complaints_;
      if (Put(number)) {
        ++done_;
        return true;
      }
      ++refused_;
      return exhausted_ && complaints_ == before + 1;
    }
    WriteBatch batch;
    batch.Delete("a", absl::StrCat("k", number));
    const absl::Status status = db_->Write(batch, Durability::kSynced);
    model_.erase(number);
    return status.ok() || Complain("delete", status);
  }
  bool Verify() {
    for (int number = 0; number < 100; ++number) {
      const auto value = db_->Get("a", absl::StrCat("k", number));
      const auto known = model_.find(number);
      if (known == model_.end() ? !absl::IsNotFound(value.status())
                                : !value.ok() || *value != known->second) {
        return Complain(absl::StrCat("k", number), value.status());
      }
    }
    return true;
  }
  bool Complain(absl::string_view what, const absl::Status& status) {
    ++complaints_;
    exhausted_ = absl::IsResourceExhausted(status);
    if (!exhausted_ || what != "put") {
      fprintf(stderr, "%s: %s\n", std::string(what).c_str(), status.ToString().c_str());
    }
    return false;
  }

  const std::string dir_;
  Options options_;
  sys::UniqueFd filler_;
  std::unique_ptr<Database> db_;
  std::mt19937 random_{5};
  std::map<int, std::string> model_;
  size_t complaints_ = 0, refused_ = 0, done_ = 0;
  bool exhausted_ = false;
};

TEST_F(KvTest, DiskThatFillsAgainAndAgainLosesNothingAndStopsNothing) {
  // Detached: no mount table shows it, and all threads of this process reach it by its descriptor.
  const sys::UniqueFd context(static_cast<int>(syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC)));
  if (!context.valid()) GTEST_SKIP() << "needs the right to mount a tmpfs";
  ASSERT_EQ(syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_STRING, "size", "32m", 0), 0);
  ASSERT_EQ(syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0), 0);
  const sys::UniqueFd disk(static_cast<int>(syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, 0)));
  ASSERT_TRUE(disk.valid());
  EXPECT_EQ(FullDisk(absl::StrCat("/proc/self/fd/", disk.get())).Run(), 0);
}

TEST_F(KvTest, LockMakesReadAndWriteOneStep) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(Put("a", "n", "0").ok());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 50; ++i) {
        auto lock = db_->Lock({{"a", "n"}, {"a", "other"}});
        WriteBatch batch;
        batch.Put("a", "n", absl::StrCat(std::stoi(*db_->Get("a", "n")) + 1));
        EXPECT_TRUE(db_->Write(batch, Durability::kVolatile).ok());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(*db_->Get("a", "n"), "200");
}

TEST_F(KvTest, ExclusiveLockWaitsForRecordLocksAndCoversItsOwnThread) {
  ASSERT_TRUE(Open().ok());
  std::atomic<bool> inside{false};
  std::thread other;
  {
    auto exclusive = db_->LockExclusively();
    auto nested = db_->Lock({{"a", "k"}});
    other = std::thread([&] {
      auto lock = db_->Lock({{"a", "z"}});
      inside = true;
    });
    usleep(20000);
    EXPECT_FALSE(inside);
  }
  other.join();
  EXPECT_TRUE(inside);
}

TEST_F(KvTest, RecorderNamesWhatWasPutSinceItsStart) {
  ASSERT_TRUE(Open().ok());
  ASSERT_TRUE(Put("a", "before", "v").ok());
  auto recorder = db_->RecordChanges();
  WriteBatch batch;
  batch.Put("b", "k", "v");
  batch.Delete("a", "before");
  ASSERT_TRUE(db_->Write(batch, Durability::kVolatile).ok());
  EXPECT_EQ(recorder->Take(), (std::vector<RecordName>{{"b", "k"}}));
  EXPECT_TRUE(recorder->Take().empty());
}

}  // namespace
}  // namespace gantry::kv
