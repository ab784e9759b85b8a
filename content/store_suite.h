// The conformance suite of content::Store: what store.h promises, as tests that every implementation passes.
//
//   INSTANTIATE_TEST_SUITE_P(Local, StoreSuite, ::testing::Values(StoreMaker{...}));
//
// Include it in one test file per program.
#ifndef GANTRY_CONTENT_STORE_SUITE_H_
#define GANTRY_CONTENT_STORE_SUITE_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "content/store.h"
#include "runtime/sys/file.h"

namespace gantry::content {

// Makes, or opens again, the store below an absolute path that exists.
using StoreMaker = std::function<absl::StatusOr<std::unique_ptr<Store>>(const std::string& root)>;

class StoreSuite : public ::testing::TestWithParam<StoreMaker> {
 protected:
  void SetUp() override {
    char name[] = "/tmp/gantry-store-test-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    dir_ = name;
    Reopen();
  }
  void TearDown() override {
    store_.reset();
    EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, dir_).ok());
  }
  void Reopen() {
    store_.reset();
    auto store = GetParam()(dir_);
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }
  std::unique_ptr<Writer> Begin(const std::string& ref) {
    auto writer = store_->OpenWriter({.ref = ref});
    EXPECT_TRUE(writer.ok()) << writer.status();
    return writer.ok() ? *std::move(writer) : nullptr;
  }
  Digest Put(const std::string& data) {
    auto writer = Begin("put " + data.substr(0, 20));
    EXPECT_TRUE(writer->Write(data).ok());
    auto info = writer->Commit(0, std::nullopt);
    EXPECT_TRUE(info.ok()) << info.status();
    return Digest::Of(data);
  }
  std::string Get(const Digest& digest) {
    auto data = ReadBlob(*store_, digest, 1 << 20);
    return data.ok() ? *data : data.status().ToString();
  }

  std::string dir_;
  std::unique_ptr<Store> store_;
};

TEST_P(StoreSuite, CommittedBlobIsThereAlsoAfterReopening) {
  const Digest digest = Put("hello");
  EXPECT_EQ(Get(digest), "hello");
  Reopen();
  EXPECT_EQ(Get(digest), "hello");
  EXPECT_EQ(store_->Info(digest)->size_bytes, 5);
  EXPECT_TRUE(store_->ListStatuses()->empty());
}

TEST_P(StoreSuite, EmptyBlobIsABlob) { EXPECT_EQ(Get(Put("")), ""); }

TEST_P(StoreSuite, ReadAtServesAnyRange) {
  auto reader = store_->Open(Put("0123456789"));
  ASSERT_TRUE(reader.ok());
  char buffer[16];
  EXPECT_EQ((*reader)->size_bytes(), 10);
  EXPECT_EQ(*(*reader)->ReadAt(buffer, 4, 3), 4u);
  EXPECT_EQ(std::string(buffer, 4), "3456");
  EXPECT_EQ(*(*reader)->ReadAt(buffer, 16, 8), 2u);
  EXPECT_EQ(*(*reader)->ReadAt(buffer, 16, 10), 0u);
}

TEST_P(StoreSuite, UnknownNamesAreNotFound) {
  const Digest nope = Digest::Of("never stored");
  EXPECT_TRUE(absl::IsNotFound(store_->Info(nope).status()));
  EXPECT_TRUE(absl::IsNotFound(store_->Open(nope).status()));
  EXPECT_TRUE(absl::IsNotFound(store_->Delete(nope)));
  EXPECT_TRUE(absl::IsNotFound(store_->Status("nope").status()));
  EXPECT_TRUE(absl::IsNotFound(store_->Abort("nope")));
}

TEST_P(StoreSuite, EmptyRefIsRefused) {
  EXPECT_TRUE(absl::IsInvalidArgument(store_->OpenWriter({.ref = ""}).status()));
}

TEST_P(StoreSuite, IngestIsListedUntilItEnds) {
  auto writer = store_->OpenWriter({.ref = "r", .total_bytes = 100});
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE((*writer)->Write("abc").ok());
  auto statuses = store_->ListStatuses();
  ASSERT_EQ(statuses->size(), 1u);
  EXPECT_EQ((*statuses)[0].ref, "r");
  EXPECT_EQ((*statuses)[0].offset, 3);
  EXPECT_EQ((*statuses)[0].total_bytes, 100);
  EXPECT_TRUE(absl::IsNotFound(store_->Info(Digest::Of("abc")).status()));
  ASSERT_TRUE((*writer)->Commit(3, Digest::Of("abc")).ok());
  EXPECT_TRUE(store_->ListStatuses()->empty());
}

TEST_P(StoreSuite, SecondWriterOfARefIsRefusedUntilTheFirstIsGone) {
  auto first = Begin("r");
  EXPECT_TRUE(absl::IsUnavailable(store_->OpenWriter({.ref = "r"}).status()));
  EXPECT_NE(Begin("other"), nullptr);
  first.reset();
  EXPECT_NE(Begin("r"), nullptr);
}

TEST_P(StoreSuite, InterruptedIngestGoesOnWhereItStopped) {
  ASSERT_TRUE(Begin("r")->Write("hello, ").ok());
  Reopen();
  auto writer = Begin("r");
  EXPECT_EQ(writer->Status()->offset, 7);
  EXPECT_EQ(writer->CurrentDigest(), Digest::Of("hello, "));
  ASSERT_TRUE(writer->Write("world").ok());
  ASSERT_TRUE(writer->Commit(12, Digest::Of("hello, world")).ok());
  EXPECT_EQ(Get(Digest::Of("hello, world")), "hello, world");
}

TEST_P(StoreSuite, ResumedIngestMayLearnAnotherAlgorithm) {
  ASSERT_TRUE(Begin("r")->Write("abc").ok());
  auto writer = Begin("r");
  const Digest digest = Digest::Of("abc", Algorithm::kSha512);
  ASSERT_TRUE(writer->Commit(0, digest).ok());
  EXPECT_EQ(Get(digest), "abc");
}

TEST_P(StoreSuite, BlobOfManyWritesIsWhole) {
  std::string data;
  auto writer = Begin("r");
  for (int i = 0; i < 40; ++i) {
    const std::string part(static_cast<size_t>(i) * 5000, static_cast<char>('a' + i % 26));
    ASSERT_TRUE(writer->Write(part).ok());
    data += part;
    EXPECT_EQ(writer->CurrentDigest(), Digest::Of(data));
  }
  const auto blob = writer->Commit(static_cast<int64_t>(data.size()), Digest::Of(data));
  ASSERT_TRUE(blob.ok()) << blob.status();
  EXPECT_EQ(blob->size_bytes, static_cast<int64_t>(data.size()));
  EXPECT_EQ(blob->digest, Digest::Of(data));
  EXPECT_EQ(*ReadBlob(*store_, blob->digest, 8 << 20), data);
}

TEST_P(StoreSuite, StatusFollowsTheWriter) {
  auto writer = Begin("r");
  const auto before = store_->Status("r");
  ASSERT_TRUE(before.ok()) << before.status();
  EXPECT_EQ(before->offset, 0);
  ASSERT_TRUE(writer->Write("abc").ok());
  const auto after = store_->Status("r");
  EXPECT_EQ(after->ref, "r");
  EXPECT_EQ(after->offset, 3);
  EXPECT_EQ(after->started, before->started);
  EXPECT_GE(after->updated, before->updated);
  EXPECT_GE(after->updated, after->started);
  EXPECT_EQ(writer->Status()->offset, 3);
}

TEST_P(StoreSuite, ResumedIngestMayBeginAnew) {
  ASSERT_TRUE(Begin("r")->Write("what is of no use").ok());
  auto writer = Begin("r");
  ASSERT_TRUE(writer->Truncate(0).ok());
  EXPECT_EQ(writer->Status()->offset, 0);
  EXPECT_EQ(writer->CurrentDigest(), Digest::Of(""));
  ASSERT_TRUE(writer->Write("new").ok());
  ASSERT_TRUE(writer->Commit(3, Digest::Of("new")).ok());
  EXPECT_EQ(Get(Digest::Of("new")), "new");
}

TEST_P(StoreSuite, RefIsFreeAfterACommitAndAfterAFailedOne) {
  auto writer = Begin("r");
  ASSERT_TRUE(writer->Write("one").ok());
  ASSERT_TRUE(writer->Commit(0, std::nullopt).ok());
  auto next = Begin("r");
  EXPECT_EQ(next->Status()->offset, 0);
  ASSERT_TRUE(next->Write("two").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(next->Commit(99, std::nullopt).status()));
  next.reset();
  auto again = Begin("r");
  EXPECT_EQ(again->Status()->offset, 3);
  ASSERT_TRUE(again->Commit(3, Digest::Of("two")).ok());
}

TEST_P(StoreSuite, TruncateBeginsAgain) {
  auto writer = Begin("r");
  ASSERT_TRUE(writer->Write("wrong and long").ok());
  EXPECT_TRUE(absl::IsInvalidArgument(writer->Truncate(3)));
  ASSERT_TRUE(writer->Truncate(0).ok());
  ASSERT_TRUE(writer->Write("right").ok());
  ASSERT_TRUE(writer->Commit(5, Digest::Of("right")).ok());
  EXPECT_EQ(Get(Digest::Of("right")), "right");
}

TEST_P(StoreSuite, WrongSizeOrDigestCommitsNothingAndKeepsTheIngest) {
  auto writer = Begin("r");
  ASSERT_TRUE(writer->Write("abc").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(writer->Commit(4, std::nullopt).status()));
  writer.reset();
  writer = Begin("r");
  EXPECT_TRUE(absl::IsFailedPrecondition(writer->Commit(0, Digest::Of("x")).status()));
  EXPECT_TRUE(absl::IsFailedPrecondition(writer->Write("more")));
  writer.reset();
  EXPECT_TRUE(absl::IsNotFound(store_->Info(Digest::Of("abc")).status()));
  EXPECT_TRUE(absl::IsNotFound(store_->Info(Digest::Of("x")).status()));
  EXPECT_EQ(store_->Status("r")->offset, 3);
}

TEST_P(StoreSuite, BlobThatIsThereAlreadyExists) {
  const Digest digest = Put("same");
  EXPECT_TRUE(absl::IsAlreadyExists(store_->OpenWriter({.ref = "r", .expected = digest}).status()));
  auto writer = Begin("r");
  ASSERT_TRUE(writer->Write("same").ok());
  EXPECT_TRUE(absl::IsAlreadyExists(writer->Commit(0, std::nullopt).status()));
  EXPECT_TRUE(absl::IsNotFound(store_->Status("r").status()));
  EXPECT_EQ(Get(digest), "same");
}

TEST_P(StoreSuite, AbortedWriterCannotCommit) {
  auto writer = Begin("r");
  ASSERT_TRUE(writer->Write("abc").ok());
  ASSERT_TRUE(store_->Abort("r").ok());
  EXPECT_FALSE(writer->Commit(0, std::nullopt).ok());
  EXPECT_TRUE(absl::IsNotFound(store_->Info(Digest::Of("abc")).status()));
}

TEST_P(StoreSuite, DeletedBlobStaysReadableForItsReaders) {
  const Digest digest = Put("abc");
  auto reader = store_->Open(digest);
  ASSERT_TRUE(store_->Delete(digest).ok());
  EXPECT_TRUE(absl::IsNotFound(store_->Info(digest).status()));
  char buffer[3];
  EXPECT_EQ(*(*reader)->ReadAt(buffer, 3, 0), 3u);
}

TEST_P(StoreSuite, WalkVisitsEveryBlobAndStopsOnError) {
  std::set<Digest> put = {Put("a"), Put("b"), Put("c")}, seen;
  ASSERT_TRUE(store_
                  ->Walk([&](const BlobInfo& info) {
                    seen.insert(info.digest);
                    return absl::OkStatus();
                  })
                  .ok());
  EXPECT_EQ(seen, put);
  int calls = 0;
  EXPECT_TRUE(absl::IsCancelled(store_->Walk([&](const BlobInfo&) {
    ++calls;
    return absl::CancelledError("enough");
  })));
  EXPECT_EQ(calls, 1);
}

}  // namespace gantry::content

#endif  // GANTRY_CONTENT_STORE_SUITE_H_
