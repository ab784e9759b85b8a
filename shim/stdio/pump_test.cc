#include "shim/stdio/pump.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gtest/gtest.h"
#include "runtime/sys/file.h"

namespace gantry::shim {
namespace {

struct Pipe {
  Pipe() {
    int fds[2];
    EXPECT_EQ(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    read.reset(fds[0]);
    write.reset(fds[1]);
  }
  sys::UniqueFd read, write;
};

class PumpTest : public ::testing::Test {
 protected:
  PumpTest() : loop_(*sys::EventLoop::Create()) {
    signal(SIGPIPE, SIG_IGN);
    char name[] = "/tmp/shim-pump-XXXXXX";
    file_.reset(mkstemp(name));
    path_ = name;
  }
  ~PumpTest() override { unlink(path_.c_str()); }

  std::unique_ptr<Pump> Make(Pump::Source kind, sys::UniqueFd source, sys::UniqueFd sink) {
    auto pump = Pump::Create(loop_.get(), kind, std::move(source), std::move(sink), [this] { done_ = true; });
    EXPECT_TRUE(pump.ok()) << pump.status();
    return *std::move(pump);
  }
  void Turn(int times = 20) {
    for (int i = 0; i < times; ++i) ASSERT_TRUE(loop_->RunOnce(absl::Milliseconds(1)).ok());
  }
  static std::string Take(int fd) {
    std::string all(1 << 20, '\0');
    const ssize_t n = read(fd, all.data(), all.size());
    all.resize(n < 0 ? 0 : static_cast<size_t>(n));
    return all;
  }

  std::unique_ptr<sys::EventLoop> loop_;
  sys::UniqueFd file_;
  std::string path_;
  bool done_ = false;
};

TEST_F(PumpTest, APipeGoesIntoAFileUntilItsEnd) {
  Pipe pipe;
  auto pump = Make(Pump::Source::kStream, std::move(pipe.read), std::move(file_));
  ASSERT_TRUE(sys::WriteAll(pipe.write.get(), "one\n").ok());
  Turn();
  EXPECT_EQ(*sys::ReadFileAt(AT_FDCWD, path_, 100), "one\n");
  ASSERT_TRUE(sys::WriteAll(pipe.write.get(), "two").ok());
  pipe.write.reset();
  EXPECT_FALSE(done_);
  Turn();
  EXPECT_TRUE(done_);
  EXPECT_EQ(*sys::ReadFileAt(AT_FDCWD, path_, 100), "one\ntwo");
  EXPECT_EQ(loop_->watched(), 0u);
}

TEST_F(PumpTest, DrainCopiesWithoutTheLoop) {
  Pipe pipe;
  auto pump = Make(Pump::Source::kStream, std::move(pipe.read), std::move(file_));
  ASSERT_TRUE(sys::WriteAll(pipe.write.get(), "last words").ok());
  pump->Drain();
  EXPECT_EQ(*sys::ReadFileAt(AT_FDCWD, path_, 100), "last words");
}

TEST_F(PumpTest, AStalledReaderStopsTheWriterAndNothingIsLost) {
  Pipe source, sink;
  auto pump = Make(Pump::Source::kStream, std::move(source.read), std::move(sink.write));
  std::string sent, got;
  // Until everything is full: both pipes and the chunk in between.
  for (int round = 0; round < 100; ++round) {
    const std::string chunk(4096, static_cast<char>('a' + round % 26));
    const ssize_t n = write(source.write.get(), chunk.data(), chunk.size());
    if (n > 0) sent.append(chunk, 0, static_cast<size_t>(n));
    Turn(1);
  }
  EXPECT_LT(sent.size(), 100u * 4096);
  source.write.reset();
  for (int i = 0; i < 50; ++i) {
    got += Take(sink.read.get());
    Turn(2);
  }
  EXPECT_EQ(got.size(), sent.size());
  EXPECT_TRUE(got == sent);
  EXPECT_TRUE(done_);
}

TEST_F(PumpTest, AReaderThatIsGoneCostsTheDataOnly) {
  Pipe source, sink;
  auto pump = Make(Pump::Source::kStream, std::move(source.read), std::move(sink.write));
  sink.read.reset();
  ASSERT_TRUE(sys::WriteAll(source.write.get(), "lost").ok());
  Turn();
  EXPECT_EQ(pump->lost_bytes(), 4u);
  EXPECT_FALSE(pump->ended());
}

class TerminalPumpTest : public PumpTest {
 protected:
  TerminalPumpTest() {
    master_.reset(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
    if (master_ && grantpt(master_.get()) == 0 && unlockpt(master_.get()) == 0) {
      name_ = ptsname(master_.get());
      slave_.reset(open(name_.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
    }
  }
  sys::UniqueFd master_, slave_;
  std::string name_;
};

TEST_F(TerminalPumpTest, AHangUpIsNoEndWhileTheProcessLives) {
  if (!slave_) GTEST_SKIP() << "no pseudo-terminals here";
  Pipe sink;
  auto pump = Make(Pump::Source::kTerminal, std::move(master_), std::move(sink.write));
  ASSERT_TRUE(sys::WriteAll(slave_.get(), "a").ok());
  slave_.reset();
  Turn(60);
  EXPECT_EQ(Take(sink.read.get()), "a");
  slave_.reset(open(name_.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  ASSERT_TRUE(sys::WriteAll(slave_.get(), "b").ok());
  Turn(400);
  EXPECT_EQ(Take(sink.read.get()), "b");
  ASSERT_TRUE(sys::WriteAll(slave_.get(), "c").ok());
  pump->Finish();
  Turn();
  EXPECT_EQ(Take(sink.read.get()), "c");
  EXPECT_TRUE(done_);
}

TEST_F(TerminalPumpTest, TheFirstOutputWaitsForTheClientUnlessTheProcessEnded) {
  if (!slave_) GTEST_SKIP() << "no pseudo-terminals here";
  Pipe sink;
  auto pump = Make(Pump::Source::kTerminal, std::move(master_), std::move(sink.write));
  ASSERT_TRUE(sys::WriteAll(slave_.get(), "first").ok());
  ASSERT_TRUE(loop_->RunOnce(absl::Milliseconds(1)).ok());
  EXPECT_EQ(Take(sink.read.get()), "");
  Turn(60);
  EXPECT_EQ(Take(sink.read.get()), "first");
  ASSERT_TRUE(sys::WriteAll(slave_.get(), "then at once").ok());
  ASSERT_TRUE(loop_->RunOnce(absl::Milliseconds(100)).ok());
  EXPECT_EQ(Take(sink.read.get()), "then at once");
}

TEST_F(TerminalPumpTest, AProcessThatEndsAtOnceIsNotHeldUp) {
  if (!slave_) GTEST_SKIP() << "no pseudo-terminals here";
  Pipe sink;
  auto pump = Make(Pump::Source::kTerminal, std::move(master_), std::move(sink.write));
  ASSERT_TRUE(sys::WriteAll(slave_.get(), "first and last").ok());
  ASSERT_TRUE(loop_->RunOnce(absl::Milliseconds(1)).ok());
  slave_.reset();
  pump->Finish();
  EXPECT_EQ(Take(sink.read.get()), "first and last");
}

TEST_F(TerminalPumpTest, FinishWaitsForAStalledReaderButNotForMore) {
  if (!slave_) GTEST_SKIP() << "no pseudo-terminals here";
  Pipe sink;
  ASSERT_GT(fcntl(sink.write.get(), F_SETPIPE_SZ, 4096), 0);
  ASSERT_TRUE(sys::WriteAll(sink.write.get(), std::string(4096, 'x')).ok());
  auto pump = Make(Pump::Source::kTerminal, std::move(master_), std::move(sink.write));
  ASSERT_TRUE(sys::WriteAll(slave_.get(), "end").ok());
  Turn();
  pump->Finish();
  Turn();
  EXPECT_FALSE(done_);
  EXPECT_EQ(Take(sink.read.get()), std::string(4096, 'x'));
  Turn();
  EXPECT_EQ(Take(sink.read.get()), "end");
  EXPECT_TRUE(done_);
}

}  // namespace
}  // namespace gantry::shim
