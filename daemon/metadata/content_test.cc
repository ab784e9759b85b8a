#include "daemon/metadata/content.h"

#include <unistd.h>

#include "daemon/metadata/schema.h"
#include "daemon/metadata/test_database.h"

namespace gantry::metadata {
namespace {

class ContentTest : public DatabaseTest {
 protected:
  std::string Read(const Scope& scope, const content::Digest& digest) {
    auto reader = content_->Open(scope, digest);
    if (!reader.ok()) return reader.status().ToString();
    std::string data(static_cast<size_t>((*reader)->size_bytes()), '\0');
    EXPECT_TRUE((*reader)->ReadAt(data.data(), data.size(), 0).ok());
    return data;
  }
  const Scope other_ = {"other", ""};
};

TEST_F(ContentTest, BlobBelongsToItsNamespace) {
  Labels labels;
  labels["k"] = "v";
  const content::Digest digest = Put(ns_, "abc", labels);
  Reopen();
  EXPECT_EQ(Read(ns_, digest), "abc");
  EXPECT_EQ(content_->Info(ns_, digest)->labels().at("k"), "v");
  EXPECT_EQ(content_->Info(ns_, digest)->size(), 3);
  EXPECT_TRUE(absl::IsNotFound(content_->Info(other_, digest).status()));
  EXPECT_TRUE(absl::IsNotFound(content_->Open(other_, digest).status()));
}

TEST_F(ContentTest, LabelsFollowTheFieldMask) {
  const content::Digest digest = Put(ns_, "abc");
  ContentInfo change;
  change.set_digest(digest.ToString());
  (*change.mutable_labels())["a"] = "1";
  EXPECT_EQ(content_->Update(ns_, change, {"labels.a", "labels.b"})->labels().size(), 1u);
  (*change.mutable_labels())["a"] = "";
  EXPECT_TRUE(content_->Update(ns_, change, {"labels.a"})->labels().empty());
  EXPECT_TRUE(absl::IsInvalidArgument(content_->Update(ns_, change, {"size"}).status()));
  (*change.mutable_labels())["a"] = std::string(4096, 'v');
  EXPECT_TRUE(absl::IsInvalidArgument(content_->Update(ns_, change, {}).status()));
  change.set_digest(content::Digest::Of("none").ToString());
  EXPECT_TRUE(absl::IsNotFound(content_->Update(ns_, change, {}).status()));
}

TEST_F(ContentTest, WrongSizeOrDigestLeavesNoBlobAndTheIngest) {
  auto writer = content_->OpenWriter(ns_, {.ref = "r"});
  ASSERT_TRUE((*writer)->Write("abc").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition((*writer)->Commit(0, content::Digest::Of("x"), {}).status()));
  writer->reset();
  EXPECT_TRUE(absl::IsNotFound(content_->Info(ns_, content::Digest::Of("abc")).status()));
  EXPECT_EQ(content_->Status(ns_, "r")->offset, 3);
  EXPECT_TRUE(absl::IsNotFound(content_->Status(other_, "r").status()));
  ASSERT_TRUE(content_->Abort(ns_, "r").ok());
  EXPECT_TRUE(absl::IsNotFound(content_->Abort(ns_, "r")));
}

TEST_F(ContentTest, SameBytesTwiceAlreadyExist) {
  Put(ns_, "abc");
  EXPECT_TRUE(absl::IsAlreadyExists(
      content_->OpenWriter(ns_, {.ref = "r", .expected = content::Digest::Of("abc")}).status()));
  auto writer = content_->OpenWriter(ns_, {.ref = "r"});
  ASSERT_TRUE((*writer)->Write("abc").ok());
  EXPECT_TRUE(absl::IsAlreadyExists((*writer)->Commit(0, std::nullopt, {}).status()));
  EXPECT_TRUE(content_->ListStatuses(ns_, Everything())->empty());
}

TEST_F(ContentTest, SharedPolicyTakesTheBlobOfAnotherNamespace) {
  const content::Digest digest = Put(ns_, "abc");
  auto writer = content_->OpenWriter(other_, {.ref = "r", .total_bytes = 3, .expected = digest});
  ASSERT_TRUE(writer.ok()) << writer.status();
  EXPECT_EQ((*writer)->Status()->offset, 3);
  EXPECT_EQ((*writer)->CurrentDigest(), digest);
  EXPECT_TRUE(absl::IsNotFound(content_->Info(other_, digest).status()));
  ASSERT_TRUE((*writer)->Commit(3, digest, {}).ok());
  EXPECT_EQ(Read(other_, digest), "abc");
}

TEST_F(ContentTest, SharedWriterMayBeWrittenAfterAll) {
  const content::Digest digest = Put(ns_, "abc");
  auto writer = content_->OpenWriter(other_, {.ref = "r", .expected = digest});
  ASSERT_TRUE((*writer)->Write("def").ok());
  EXPECT_EQ((*writer)->Status()->offset, 6);
  ASSERT_TRUE((*writer)->Truncate(0).ok());
  ASSERT_TRUE((*writer)->Write("def").ok());
  ASSERT_TRUE((*writer)->Commit(0, std::nullopt, {}).ok());
  EXPECT_EQ(Read(other_, content::Digest::Of("def")), "def");
}

TEST_F(ContentTest, IsolatedPolicyWantsTheBytes) {
  UsePolicy(SharingPolicy::kIsolated);
  const content::Digest digest = Put(ns_, "abc");
  auto writer = content_->OpenWriter(other_, {.ref = "r", .expected = digest});
  ASSERT_TRUE(writer.ok()) << writer.status();
  EXPECT_EQ((*writer)->Status()->offset, 0);
  ASSERT_TRUE((*writer)->Write("abc").ok());
  ASSERT_TRUE((*writer)->Commit(3, digest, {}).ok());
  EXPECT_EQ(Read(other_, digest), "abc");
}

TEST_F(ContentTest, LeaseOfTheCallHoldsIngestThenBlob) {
  MakeLease(ns_, "l");
  const Scope leased = {"default", "l"};
  auto writer = content_->OpenWriter(leased, {.ref = "r"});
  ASSERT_TRUE((*writer)->Write("abc").ok());
  EXPECT_EQ(Resources(ns_, "l"), (std::vector<std::string>{"ingests r"}));
  ASSERT_TRUE((*writer)->Commit(0, std::nullopt, {}).ok());
  const std::string digest = content::Digest::Of("abc").ToString();
  EXPECT_EQ(Resources(ns_, "l"), (std::vector<std::string>{"content " + digest}));
  ASSERT_TRUE(content_->Delete(leased, content::Digest::Of("abc")).ok());
  EXPECT_TRUE(Resources(ns_, "l").empty());
  Put(ns_, "abc");
  EXPECT_FALSE(content_->OpenWriter(leased, {.ref = "r", .expected = content::Digest::Of("abc")}).ok());
  EXPECT_EQ(Resources(ns_, "l"), (std::vector<std::string>{"content " + digest}));
}

TEST_F(ContentTest, MissingOrShortFileIsDataLoss) {
  const content::Digest gone = Put(ns_, "gone"), cut = Put(ns_, "cut short");
  ASSERT_TRUE(files_->Delete(gone).ok());
  ASSERT_EQ(truncate((dir_ + "/content/blobs/sha256/" + cut.hex()).c_str(), 2), 0);
  EXPECT_TRUE(absl::IsDataLoss(content_->Open(ns_, gone).status()));
  EXPECT_TRUE(absl::IsDataLoss(content_->Open(ns_, cut).status()));
}

TEST_F(ContentTest, InterruptedIngestIsResumedAfterReopening) {
  {
    auto writer = content_->OpenWriter(ns_, {.ref = "r"});
    ASSERT_TRUE((*writer)->Write("first, ").ok());
  }
  Reopen();
  auto writer = content_->OpenWriter(ns_, {.ref = "r"});
  EXPECT_EQ((*writer)->Status()->offset, 7);
  EXPECT_TRUE(absl::IsUnavailable(content_->OpenWriter(ns_, {.ref = "r"}).status()));
  ASSERT_TRUE((*writer)->Write("second").ok());
  EXPECT_TRUE((*writer)->Commit(0, content::Digest::Of("first, second"), {}).ok());
}

}  // namespace
}  // namespace gantry::metadata
