#include "content/digest.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace gantry::content {
namespace {

// The empty string's digests, from FIPS 180-4's test vectors.
constexpr char kEmpty256[] = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

TEST(DigestTest, KnownValues) {
  EXPECT_EQ(Digest::Of("").ToString(), kEmpty256);
  EXPECT_EQ(Digest::Of("abc").hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Digest::Of("", Algorithm::kSha512).hex().size(), 128u);
  EXPECT_EQ(Digest::Of("", Algorithm::kSha384).hex().size(), 96u);
}

TEST(DigestTest, ParseAcceptsOnlyTheExactForm) {
  EXPECT_EQ(Digest::Parse(kEmpty256)->ToString(), kEmpty256);
  const std::string hex(64, 'a');
  EXPECT_TRUE(Digest::Parse("sha256:" + hex).ok());
  EXPECT_TRUE(Digest::Parse("sha512:" + hex + hex).ok());
  const std::vector<std::string> refused = {"",
                                            "sha256",
                                            "sha256:",
                                            "sha256:" + hex + "a",
                                            "sha256:" + hex.substr(1),
                                            "sha256:" + std::string(64, 'A'),
                                            "sha256:" + std::string(64, '/'),
                                            "md5:" + hex,
                                            ":" + hex,
                                            "SHA256:" + hex,
                                            "sha256:../../../../etc/passwd",
                                            "sha512:" + hex};
  for (const std::string& bad : refused) {
    EXPECT_EQ(Digest::Parse(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(DigestTest, DigesterTellsTheDigestSoFarAndGoesOn) {
  Digester digester;
  digester.Update("a");
  EXPECT_EQ(digester.Current(), Digest::Of("a"));
  digester.Update("bc");
  EXPECT_EQ(digester.Current(), Digest::Of("abc"));
  digester.Reset();
  EXPECT_EQ(digester.Current(), Digest::Of(""));
}

}  // namespace
}  // namespace gantry::content
