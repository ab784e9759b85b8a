#include "shim/task/exec_journal.h"

#include <fcntl.h>
#include <stdlib.h>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "runtime/sys/file.h"

namespace gantry::shim {
namespace {

class ExecJournalTest : public ::testing::Test {
 protected:
  ExecJournalTest() { directory_ = mkdtemp(name_); }
  ~ExecJournalTest() override { sys::RemoveAllAt(AT_FDCWD, directory_).IgnoreError(); }
  std::string Text() const {
    return sys::ReadFileAt(AT_FDCWD, directory_ + "/gantry-execs", 1 << 20).value_or("none");
  }
  static ExecEntry Entry(const std::string& id) {
    ExecEntry entry;
    entry.id = id;
    entry.pid = 42;
    entry.identity = 1234567890123;
    entry.stdio = {"/in", "/a\tb\nc", "", true};
    return entry;
  }
  char name_[32] = "/tmp/shim-journal-XXXXXX";
  std::string directory_;
  const ExitRecord exit_{42, 7, absl::FromUnixNanos(1'700'000'000'123'456'789)};
};

TEST_F(ExecJournalTest, TheNextShimFindsWhatWasTold) {
  ExecJournal journal(directory_);
  for (const char* id : {"runs", "ended", "told", "gone"}) journal.Started(Entry(id));
  for (const char* id : {"ended", "told", "gone"}) journal.Exited(id, exit_);
  for (const char* id : {"told", "gone"}) journal.Told(id);
  journal.Deleted("gone");
  ExecJournal next(directory_);
  const std::vector<ExecEntry> execs = next.TakeOver();
  ASSERT_EQ(execs.size(), 3u);
  EXPECT_EQ(execs[0].id, "ended");
  ASSERT_TRUE(execs[0].exit.has_value());
  EXPECT_EQ(execs[0].exit->status, 7u);
  EXPECT_EQ(execs[0].exit->exited_at, exit_.exited_at);
  EXPECT_FALSE(execs[0].told);
  EXPECT_EQ(execs[1].id, "runs");
  EXPECT_FALSE(execs[1].exit.has_value());
  EXPECT_EQ(execs[1].pid, 42);
  EXPECT_EQ(execs[1].identity, 1234567890123u);
  EXPECT_EQ(execs[1].stdio.out, "/a\tb\nc");
  EXPECT_TRUE(execs[1].stdio.terminal);
  EXPECT_TRUE(execs[2].told);
  // And goes on with them.
  next.Told("ended");
  for (const char* id : {"ended", "runs", "told"}) next.Deleted(id);
  EXPECT_EQ(Text(), "");
}

TEST_F(ExecJournalTest, ALineThatWasCutOffDoesNotCount) {
  ExecJournal journal(directory_);
  journal.Started(Entry("a"));
  journal.Started(Entry("b"));
  const std::string text = Text();
  EXPECT_EQ(ExecJournal::Parse(text).size(), 2u);
  EXPECT_EQ(ExecJournal::Parse(text.substr(0, text.size() - 1)).size(), 1u);
  ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, directory_ + "/gantry-execs", text.substr(0, text.size() - 9),
                                   0600, sys::Durability::kVolatile)
                  .ok());
  ExecJournal next(directory_);
  EXPECT_EQ(next.TakeOver().size(), 1u);
  next.Started(Entry("c"));
  EXPECT_EQ(ExecJournal::Parse(Text()).size(), 2u);
}

TEST_F(ExecJournalTest, ItDoesNotGrowWithWhatIsGone) {
  ExecJournal journal(directory_);
  journal.Started(Entry("stays"));
  for (int i = 0; i < 2000; ++i) {
    const std::string id = absl::StrCat("e", i);
    journal.Started(Entry(id));
    journal.Exited(id, exit_);
    journal.Told(id);
    journal.Deleted(id);
  }
  EXPECT_LT(Text().size(), 70000u);
  EXPECT_EQ(ExecJournal::Parse(Text()).size(), 1u);
}

TEST_F(ExecJournalTest, NothingIsWrittenOfAnExecThatNeverRan) {
  ExecJournal journal(directory_);
  journal.Exited("never", exit_);
  journal.Told("never");
  journal.Deleted("never");
  EXPECT_EQ(Text(), "none");
}

}  // namespace
}  // namespace gantry::shim
