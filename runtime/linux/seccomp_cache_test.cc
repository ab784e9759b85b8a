#include "runtime/linux/seccomp_cache.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "runtime/linux/seccomp.h"
#include "runtime/sys/file.h"

namespace gantry::linux {
namespace {

class SeccompCacheTest : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/seccomp-cache-XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    parent_ = pattern;
    directory_ = parent_ + "/cache";
  }
  void TearDown() override { EXPECT_TRUE(sys::RemoveAllAt(AT_FDCWD, parent_).ok()); }

  static oci::Seccomp Profile(const std::string& name = "getpid") {
    oci::Seccomp profile;
    profile.syscalls.push_back({.names = {name, "write"}, .action = oci::SeccompAction::kAllow});
    return profile;
  }
  static std::string Bytes(const std::vector<sock_filter>& program) {
    return {reinterpret_cast<const char*>(program.data()), program.size() * sizeof(sock_filter)};
  }
  std::string File(const oci::Seccomp& profile) {
    return absl::StrCat(directory_, "/", SeccompCache::KeyOf(profile));
  }
  std::string Content(const oci::Seccomp& profile) {
    return sys::ReadFileAt(AT_FDCWD, File(profile), 1 << 20).value_or("");
  }
  void Damage(const oci::Seccomp& profile, const std::string& text) {
    ASSERT_TRUE(sys::WriteFileAtomic(AT_FDCWD, File(profile), text, 0600, sys::Durability::kVolatile).ok());
  }

  std::string parent_, directory_;
};

TEST_F(SeccompCacheTest, WhatWasCompiledIsReadBack) {
  const auto plain = CompileSeccomp(Profile());
  const auto first = CompileSeccomp(Profile(), directory_);
  ASSERT_TRUE(plain.ok() && first.ok());
  EXPECT_EQ(Bytes(*plain), Bytes(*first));
  auto cache = SeccompCache::Open(directory_);
  ASSERT_TRUE(cache.ok()) << cache.status();
  const auto kept = cache->Get(SeccompCache::KeyOf(Profile()));
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ(Bytes(*plain), Bytes(*kept));
  EXPECT_EQ(Bytes(*plain), Bytes(*CompileSeccomp(Profile(), directory_)));
}

TEST_F(SeccompCacheTest, EveryMemberOfAProfileCounts) {
  const std::string key = SeccompCache::KeyOf(Profile());
  const auto differs = [&key](void (*change)(oci::Seccomp&)) {
    oci::Seccomp profile = Profile();
    change(profile);
    return SeccompCache::KeyOf(profile) != key;
  };
  EXPECT_TRUE(differs([](oci::Seccomp& p) { p.default_action = oci::SeccompAction::kTrap; }));
  EXPECT_TRUE(differs([](oci::Seccomp& p) { p.default_errno_ret = 0; }));
  EXPECT_TRUE(differs([](oci::Seccomp& p) { p.architectures = {"SCMP_ARCH_X86"}; }));
  EXPECT_TRUE(differs([](oci::Seccomp& p) { p.syscalls[0].names = {"getpi", "dwrite"}; }));
  EXPECT_TRUE(differs([](oci::Seccomp& p) { p.syscalls[0].errno_ret = 1; }));
  EXPECT_TRUE(differs([](oci::Seccomp& p) { p.syscalls[0].args = {{.index = 1}}; }));
  EXPECT_TRUE(differs([](oci::Seccomp& p) { p.syscalls.push_back(p.syscalls[0]); }));
  EXPECT_EQ(SeccompCache::KeyOf(Profile()), key);
}

TEST_F(SeccompCacheTest, DamageIsNoticedAndMended) {
  const std::string plain = Bytes(*CompileSeccomp(Profile(), directory_));
  const std::string good = Content(Profile());
  for (size_t at : {size_t{0}, size_t{40}, good.size() / 2, good.size() - 1}) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 1);
    Damage(Profile(), bad);
    EXPECT_EQ(Bytes(*CompileSeccomp(Profile(), directory_)), plain) << "byte " << at;
    EXPECT_EQ(Content(Profile()), good) << "mended";
  }
  for (size_t size : {size_t{0}, size_t{50}, good.size() - 8, good.size() - 1}) {
    Damage(Profile(), good.substr(0, size));
    EXPECT_EQ(Bytes(*CompileSeccomp(Profile(), directory_)), plain) << size << " bytes";
  }
  Damage(Profile(), good + std::string(1 << 20, 'x'));
  EXPECT_EQ(Bytes(*CompileSeccomp(Profile(), directory_)), plain);
}

TEST_F(SeccompCacheTest, WhatOthersCouldWriteIsNotBelieved) {
  const std::string plain = Bytes(*CompileSeccomp(Profile(), directory_));
  // A filter that allows everything, in a file and then a directory of loose modes.
  ASSERT_EQ(chmod(File(Profile()).c_str(), 0620), 0);
  auto cache = SeccompCache::Open(directory_);
  EXPECT_EQ(cache->Get(SeccompCache::KeyOf(Profile())).status().code(), absl::StatusCode::kDataLoss);
  ASSERT_EQ(chmod(directory_.c_str(), 0770), 0);
  EXPECT_EQ(SeccompCache::Open(directory_).status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(Bytes(*CompileSeccomp(Profile(), directory_)), plain) << "works without it";
  // A link of that name to a directory elsewhere.
  ASSERT_EQ(rename(directory_.c_str(), (parent_ + "/other").c_str()), 0);
  ASSERT_EQ(chmod((parent_ + "/other").c_str(), 0700), 0);
  ASSERT_EQ(symlink("other", directory_.c_str()), 0);
  EXPECT_FALSE(SeccompCache::Open(directory_).ok());
}

TEST_F(SeccompCacheTest, AFifoOfThatNameIsNotWaitedFor) {
  ASSERT_TRUE(CompileSeccomp(Profile(), directory_).ok());
  ASSERT_EQ(unlink(File(Profile()).c_str()), 0);
  ASSERT_EQ(mkfifo(File(Profile()).c_str(), 0600), 0);
  EXPECT_TRUE(CompileSeccomp(Profile(), directory_).ok());
}

TEST_F(SeccompCacheTest, ItStaysSmall) {
  auto cache = SeccompCache::Open(directory_);
  ASSERT_TRUE(cache.ok());
  const auto program = CompileSeccomp(Profile());
  for (size_t i = 0; i < 3 * kMaxCachedFilters; i++)
    ASSERT_TRUE(cache->Put(absl::StrCat("key", i), *program).ok());
  size_t found = 0;
  for (size_t i = 0; i < 3 * kMaxCachedFilters; i++) found += cache->Get(absl::StrCat("key", i)).ok() ? 1 : 0;
  EXPECT_LE(found, kMaxCachedFilters);
  EXPECT_TRUE(cache->Get(absl::StrCat("key", 3 * kMaxCachedFilters - 1)).ok()) << "the newest is there";
}

}  // namespace
}  // namespace gantry::linux
