#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>

#include "cmd/gantry/archive/documents.h"
#include "cmd/gantry/archive/reader.h"

namespace gantry::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kDigest = "sha256:" + std::string(64, 'a');

std::string Descriptor() { return R"({"mediaType":"m","digest":")" + kDigest + R"(","size":5})"; }

TEST(DocumentsTest, ManifestIsRead) {
  const auto manifest =
      ParseManifest(R"({"config":)" + Descriptor() + R"(,"layers":[)" + Descriptor() + "]}", "m");
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->config.digest, kDigest);
  ASSERT_EQ(manifest->layers.size(), 1u);
  EXPECT_EQ(manifest->layers[0].size, 5);
}

TEST(DocumentsTest, AManifestThatIsAnIndexTooIsRefused) {
  const std::string both = R"({"config":)" + Descriptor() + R"(,"manifests":[]})";
  EXPECT_THAT(ParseManifest(both, "m").status().message(), HasSubstr("ambiguous"));
  EXPECT_THAT(ParseIndex(both, "m").status().message(), HasSubstr("ambiguous"));
}

TEST(DocumentsTest, WrongDocumentsNameTheMember) {
  EXPECT_THAT(ParseManifest("{}", "manifest x").status().message(),
              HasSubstr("manifest x: config is missing"));
  EXPECT_THAT(ParseManifest("{", "m").status().message(), HasSubstr("no JSON"));
  EXPECT_THAT(ParseIndex(R"({"manifests":[{"digest":"sha256:../../x"}]})", "i").status().message(),
              HasSubstr("is no digest"));
  EXPECT_THAT(
      ParseIndex(R"({"manifests":[{"digest":")" + kDigest + R"(","size":-1}]})", "i").status().message(),
      HasSubstr("not negative"));
  EXPECT_THAT(ParseConfig(R"({"config":{"Env":"A=B"}})", "c").status().message(), HasSubstr("Env"));
}

TEST(DocumentsTest, DeepNestingIsNoStackOverflow) {
  EXPECT_FALSE(ParseConfig(std::string(1000000, '['), "c").ok());
  EXPECT_TRUE(ParseConfig(R"({"x":)" + std::string(100000, '[') + std::string(100000, ']') + "}", "c").ok());
}

TEST(DocumentsTest, ConfigIsRead) {
  const auto config = ParseConfig(
      R"({"os":"linux","architecture":"amd64","config":{"Env":["A=B"],"Cmd":["sh"],"User":"1:2","WorkingDir":"/w",)"
      R"("Entrypoint":null,"Labels":{"k":"v"}},"rootfs":{"diff_ids":[")" +
          kDigest + R"("]}})",
      "c");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->env, ElementsAre("A=B"));
  EXPECT_THAT(config->cmd, ElementsAre("sh"));
  EXPECT_EQ(config->user, "1:2");
  EXPECT_EQ(config->labels.at("k"), "v");
  EXPECT_THAT(config->diff_ids, ElementsAre(kDigest));
}

TEST(DocumentsTest, ChainIdsFollowTheSpecification) {
  const std::string second = "sha256:" + std::string(64, 'b');
  EXPECT_THAT(ChainIds({kDigest, second}), ElementsAre(kDigest, Sha256Digest(kDigest + " " + second)));
  EXPECT_EQ(Sha256Digest(""), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(DocumentsTest, SavedImages) {
  const auto images =
      ParseSavedImages(R"([{"Config":"c.json","RepoTags":["a:b"],"Layers":["l/layer.tar"]}])");
  ASSERT_TRUE(images.ok()) << images.status();
  EXPECT_THAT(images->at(0).tags, ElementsAre("a:b"));
  EXPECT_FALSE(ParseSavedImages(R"([{"Layers":[]}])").ok());
}

class ReaderTest : public ::testing::Test {
 protected:
  ReaderTest() { EXPECT_NE(::mkdtemp(dir_), nullptr); }
  ~ReaderTest() override { EXPECT_EQ(::system(("rm -rf " + std::string(dir_)).c_str()), 0); }
  std::string Path(const std::string& name) const { return std::string(dir_) + "/" + name; }
  void Tar(const std::string& arguments) const {
    ASSERT_EQ(::system(("cd " + std::string(dir_) + " && tar " + arguments).c_str()), 0);
  }
  void Put(const std::string& name, const std::string& data) const { std::ofstream(Path(name)) << data; }

  char dir_[32] = "/tmp/gantry-archive-XXXXXX";
};

TEST_F(ReaderTest, ReadsMembersOfPlainAndCompressedArchives) {
  Put("a", std::string(100000, 'x'));
  for (const char* how : {"-cf t ./a", "-czf t ./a", "--zstd -cf t ./a"}) {
    Tar(how);
    auto reader = ArchiveReader::Open(Path("t"));
    ASSERT_TRUE(reader.ok()) << reader.status();
    ArchiveReader::Member member;
    ASSERT_TRUE(*(*reader)->Next(&member));
    EXPECT_EQ(member.path, "a");
    EXPECT_EQ(member.size_bytes, 100000u);
    EXPECT_EQ((*reader)->ReadWhole(1 << 20)->size(), 100000u);
    EXPECT_FALSE(*(*reader)->Next(&member));
  }
}

TEST_F(ReaderTest, ATruncatedArchiveIsDataLoss) {
  Put("a", std::string(100000, 'x'));
  Tar("-cf t a");
  ASSERT_EQ(::truncate(Path("t").c_str(), 50000), 0);
  auto reader = ArchiveReader::Open(Path("t"));
  ASSERT_TRUE(reader.ok()) << reader.status();
  ArchiveReader::Member member;
  ASSERT_TRUE((*reader)->Next(&member).ok());
  const absl::Status status = (*reader)->ReadWhole(1 << 20).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), HasSubstr("damaged or cut short"));
}

TEST_F(ReaderTest, WhatIsNoArchiveIsSaidToBeNone) {
  Put("t", "hello, this is no archive at all");
  auto reader = ArchiveReader::Open(Path("t"));
  absl::Status status = reader.status();
  ArchiveReader::Member member;
  if (reader.ok()) status = (*reader)->Next(&member).status();
  EXPECT_THAT(status.message(), HasSubstr("is no tar archive"));
  EXPECT_THAT(ArchiveReader::Open(dir_).status().message(), HasSubstr("is a directory"));
  EXPECT_EQ(ArchiveReader::Open(Path("none")).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(ReaderTest, DocumentsHaveALimit) {
  Put("a", std::string(100000, 'x'));
  Tar("-cf t a");
  auto reader = ArchiveReader::Open(Path("t"));
  ArchiveReader::Member member;
  ASSERT_TRUE(*(*reader)->Next(&member));
  EXPECT_EQ((*reader)->ReadWhole(1000).status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace gantry::cli
