#include "snapshotter/diff/read_ahead.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

namespace gantry::diff {
namespace {

// Gives its pieces, then an end or an error; finds out whether two threads are in it at once.
class Pieces : public Source {
 public:
  Pieces(int count, absl::Status end) : count_(count), end_(std::move(end)) {}
  absl::StatusOr<absl::string_view> Next() override {
    const bool alone = mutex_.TryLock();
    EXPECT_TRUE(alone);
    if (!alone) return absl::InternalError("two threads at once");
    const absl::Cleanup unlock = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { mutex_.Unlock(); };
    if (next_ == count_) {
      if (!end_.ok()) return end_;
      return absl::string_view();
    }
    piece_ = absl::StrCat("piece ", next_++, ";");
    return absl::string_view(piece_);
  }

 private:
  absl::Mutex mutex_;
  const int count_;
  const absl::Status end_;
  int next_ = 0;
  std::string piece_;
};

std::string Expected(int count) {
  std::string text;
  for (int i = 0; i < count; ++i) absl::StrAppend(&text, "piece ", i, ";");
  return text;
}

absl::StatusOr<std::string> ReadAll(Source* source) {
  std::string text;
  for (;;) {
    const auto piece = source->Next();
    if (!piece.ok()) return piece.status();
    if (piece->empty()) return text;
    text.append(piece->data(), piece->size());
  }
}

TEST(ReadAheadTest, KeepsTheOrderWhoeverReads) {
  std::vector<std::thread> threads;
  const Executor spawn = [&threads](std::function<void()> work) { threads.emplace_back(std::move(work)); };
  const Executor at_once = [](std::function<void()> work) { work(); };
  std::vector<std::function<void()>> never_run;
  const Executor busy = [&never_run](std::function<void()> work) { never_run.push_back(std::move(work)); };
  for (const Executor& executor : {spawn, at_once, busy, Executor()}) {
    for (const int count : {0, 1, 7, 1000}) {
      ReadAhead source(std::make_unique<Pieces>(count, absl::OkStatus()), executor);
      const auto text = ReadAll(&source);
      ASSERT_TRUE(text.ok());
      EXPECT_EQ(*text, Expected(count));
      EXPECT_TRUE(source.Next()->empty());
    }
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& work : never_run) work();  // late: its source has gone, and it does nothing
}

TEST(ReadAheadTest, ErrorsComeAfterWhatWasGoodAndStay) {
  ReadAhead source(std::make_unique<Pieces>(3, absl::DataLossError("cut")),
                   [](std::function<void()> work) { work(); });
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(source.Next().ok());
  EXPECT_TRUE(absl::IsDataLoss(source.Next().status()));
  EXPECT_TRUE(absl::IsDataLoss(source.Next().status()));
}

TEST(ReadAheadTest, StopsWhenNobodyTakesAnyMore) {
  std::vector<std::thread> threads;
  {
    ReadAhead source(std::make_unique<Pieces>(1'000'000, absl::OkStatus()),
                     [&threads](std::function<void()> work) { threads.emplace_back(std::move(work)); });
    EXPECT_TRUE(source.Next().ok());
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace gantry::diff
