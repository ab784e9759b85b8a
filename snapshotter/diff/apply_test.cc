#include "snapshotter/diff/apply.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/xattr.h>

#include <atomic>
#include <thread>

#include "snapshotter/diff/tar_builder.h"
#include "snapshotter/diff/test_tree.h"

namespace gantry::diff {
namespace {

class ApplyTest : public TreeTest {
 protected:
  static absl::Status ApplyTo(const TargetOptions& target, const TarBuilder& tar) {
    const std::string bytes = tar.Build();
    return Apply(std::make_unique<StringSource>(bytes, 777), target).status();
  }

  // Applies layers in both forms, as an overlay's and into a plain tree, and expects both to show the same.
  std::map<std::string, std::string> Stack(const std::vector<TarBuilder>& layers) {
    const std::string plain = Make("plain");
    std::vector<std::string> from_top;
    for (const TarBuilder& layer : layers) {
      const std::string upper = Make(absl::StrCat("layer", from_top.size()));
      const absl::Status overlay = ApplyTo({.directory = upper, .overlay = true, .lowers = from_top}, layer);
      EXPECT_TRUE(overlay.ok()) << overlay;
      const absl::Status straight = ApplyTo({.directory = plain}, layer);
      EXPECT_TRUE(straight.ok()) << straight;
      from_top.insert(from_top.begin(), upper);
    }
    auto shown = Shown(from_top);
    EXPECT_EQ(Shown({plain}), shown);
    return shown;
  }
  static std::vector<std::string> Names(const std::map<std::string, std::string>& shown) {
    std::vector<std::string> names;
    for (const auto& [name, text] : shown) names.push_back(name);
    return names;
  }
};

using testing::ElementsAre;
using testing::HasSubstr;

TEST(TargetOfMountsTest, ExtractsIntoUpperOrBindSource) {
  auto target =
      TargetOfMounts({{"overlay",
                       "overlay",
                       "",
                       {"workdir=/w", "upperdir=/u", "lowerdir=/l1:/l2", "index=off", "userxattr"}}});
  ASSERT_TRUE(target.ok());
  EXPECT_TRUE(target->overlay);
  EXPECT_EQ(target->directory, "/u");
  EXPECT_THAT(target->lowers, ElementsAre("/l1", "/l2"));
  EXPECT_EQ(target->xattrs, OverlayXattrs::kUser);
  target = TargetOfMounts({{"bind", "/b", "", {"rw", "rbind"}}});
  ASSERT_TRUE(target.ok());
  EXPECT_FALSE(target->overlay);
  EXPECT_TRUE(absl::IsFailedPrecondition(TargetOfMounts({{"bind", "/b", "", {"ro", "rbind"}}}).status()));
  EXPECT_TRUE(
      absl::IsFailedPrecondition(TargetOfMounts({{"overlay", "o", "", {"lowerdir=/a:/b"}}}).status()));
  EXPECT_TRUE(absl::IsUnimplemented(TargetOfMounts({{"ext4", "/dev/x", "", {}}}).status()));
  EXPECT_TRUE(absl::IsUnimplemented(TargetOfMounts({}).status()));
}

TEST(CleanPathTest, StaysInside) {
  EXPECT_EQ(CleanPath("/a//b/./c/"), "a/b/c");
  EXPECT_EQ(CleanPath("../../a/../b"), "b");
  EXPECT_EQ(CleanPath("./"), "");
  EXPECT_EQ(CleanPath("..dots/a..b/..."), "..dots/a..b/...");
}

TEST_F(ApplyTest, MakesEveryKindWithExactMetadata) {
  const std::string root = Make("root");
  TarBuilder tar;
  tar.Dir("d", 02775).File("d/f", "content", 04755);
  tar.Add({.name = "owned", .mode = 06711, .uid = 1000, .gid = 4294967294}, "x");
  tar.Add({.name = "null", .type = '3', .mode = 0666, .major = 1, .minor = 3});
  tar.Add({.name = "fifo", .type = '6', .mode = 0622});
  tar.Symlink("s", "/d/f").Hardlink("h", "/d/f").Hardlink("hs", "s");
  tar.Pax({{"mtime", "1600000000.123456789"},
           {"SCHILY.xattr.user.note", "kept"},
           {"SCHILY.xattr.trusted.overlay.redirect", "/etc"}});
  tar.File("x", "", 0);
  ASSERT_TRUE(ApplyTo({.directory = root}, tar).ok());
  const auto shown = Shown({root});
  EXPECT_EQ(shown.at("d"), "042775 0:0");
  EXPECT_EQ(shown.at("d/f"), "104755 0:0 2 content");
  EXPECT_THAT(shown.at("owned"), HasSubstr("106711 1000:"));
  EXPECT_EQ(shown.at("null"), "020666 0:0 1,3");
  EXPECT_EQ(shown.at("fifo"), "010622 0:0");
  EXPECT_EQ(shown.at("s"), "120777 0:0 -> /d/f");
  EXPECT_EQ(shown.at("hs"), shown.at("s"));
  EXPECT_EQ(shown.at("x"), "100000 0:0 1  user.note=kept");
  EXPECT_LT(::getxattr((root + "/x").c_str(), "trusted.overlay.redirect", nullptr, 0), 0);
  struct stat st;
  ASSERT_EQ(::stat((root + "/x").c_str(), &st), 0);
  EXPECT_EQ(st.st_mtim.tv_nsec, 123456789);
  ASSERT_EQ(::stat((root + "/d").c_str(), &st), 0);
  EXPECT_EQ(st.st_mtim.tv_sec, 1'600'000'000);  // although a file was made in it afterwards
}

TEST_F(ApplyTest, TellsTheDiffIdAndReadsWhatFollowsTheEnd) {
  const std::string bytes = TarBuilder().File("f", "x").Build() + std::string(5000, '\0') + "tail";
  const auto result = Apply(std::make_unique<StringSource>(bytes), {.directory = Make("root")});
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->size_bytes, static_cast<int64_t>(bytes.size()));
  EXPECT_EQ(result->digest, content::Digest::Of(bytes));
}

TEST_F(ApplyTest, SparseFilesHaveHoles) {
  const std::string root = Make("root");
  TarBuilder tar;
  tar.Pax({{"GNU.sparse.size", "104857600"}, {"GNU.sparse.map", "1048576,3"}}).File("s", "abc");
  ASSERT_TRUE(ApplyTo({.directory = root}, tar).ok());
  struct stat st;
  ASSERT_EQ(::stat((root + "/s").c_str(), &st), 0);
  EXPECT_EQ(st.st_size, 104857600);
  EXPECT_LT(st.st_blocks * 512, 1 << 20);
}

TEST_F(ApplyTest, WhiteoutsHideLowerLayers) {
  const auto shown =
      Stack({TarBuilder().Dir("keep").File("keep/a", "a").File("keep/b", "b").Dir("gone").File("gone/x", "x"),
             TarBuilder().Whiteout("keep", "b").Whiteout("", "gone").Whiteout("", "nothing"),
             TarBuilder().Dir("gone", 0711).File("gone/back", "again")});
  EXPECT_THAT(Names(shown), ElementsAre("gone", "gone/back", "keep", "keep/a"));
}

TEST_F(ApplyTest, WhiteoutsHideNothingOfTheirOwnLayerWhateverTheOrder) {
  const TarBuilder base =
      TarBuilder().Dir("d").File("d/old", "old").File("f", "old").Dir("e").File("e/old", "");
  for (const bool first : {true, false}) {
    TarBuilder layer;
    if (first) layer.Whiteout("", "d").Whiteout("", "f").Whiteout("", "e");
    layer.Dir("d", 0700).File("d/new", "new").File("f", "new").File("e/implicit", "new");
    if (!first) layer.Whiteout("", "d").Whiteout("", "f").Whiteout("", "e");
    const auto shown = Stack({base, layer});
    EXPECT_THAT(Names(shown), ElementsAre("d", "d/new", "e", "e/implicit", "f"));
    EXPECT_THAT(shown.at("f"), HasSubstr("new"));
    TearDown();
    SetUp();
  }
}

TEST_F(ApplyTest, OpaqueHidesLowerContentOnly) {
  const TarBuilder base =
      TarBuilder().Dir("o").File("o/a", "a").Dir("o/k").File("o/k/z", "z").Dir("p", 0770).File("p/a", "a");
  for (const bool first : {true, false}) {
    TarBuilder layer;
    layer.Dir("o", 0750);
    if (first) layer.Opaque("o");
    layer.File("o/n", "n").Dir("o/k").File("o/k/n", "n").Whiteout("o/k", "z");
    if (!first) layer.Opaque("o");
    layer.Opaque("p");
    const auto shown = Stack({base, layer});
    EXPECT_THAT(Names(shown), ElementsAre("o", "o/k", "o/k/n", "o/n", "p"));
    EXPECT_EQ(shown.at("o"), "040750 0:0");
    EXPECT_EQ(shown.at("p"), "040770 0:0");  // not named by the layer: as it was below
    TearDown();
    SetUp();
  }
}

TEST_F(ApplyTest, NamesThatChangeTheirKindHideWhatWasBelow) {
  const auto shown =
      Stack({TarBuilder().File("a", "file").Dir("b").File("b/in", "in").Dir("c").File("c/in", "in"),
             TarBuilder()
                 .Dir("a")
                 .File("a/in", "1")
                 .File("b", "now a file")
                 .File("c", "")
                 .Dir("c")
                 .File("c/new", "2")});
  EXPECT_THAT(Names(shown), ElementsAre("a", "a/in", "b", "c", "c/new"));
}

TEST_F(ApplyTest, TheLastOfRepeatedEntriesCounts) {
  const auto shown = Stack({TarBuilder()
                                .File("f", "first")
                                .File("f", "second", 0600)
                                .Dir("i")
                                .File("i/j", "j")
                                .Dir("i", 0500)
                                .File("k", "k")
                                .Hardlink("l", "k")
                                .File("k", "k2")
                                .Hardlink("l", "l")
                                .Dir("g")
                                .File("g/h", "h")
                                .File("g", "file")});
  EXPECT_EQ(shown.at("f"), "100600 0:0 1 second");
  EXPECT_EQ(shown.at("i"), "040500 0:0");
  EXPECT_THAT(shown.at("l"), HasSubstr(" k"));
  EXPECT_THAT(shown.at("k"), HasSubstr(" k2"));
  EXPECT_THAT(Names(shown), ElementsAre("f", "g", "i", "i/j", "k", "l"));
}

TEST_F(ApplyTest, ImplicitDirectoriesLookLikeTheLowerOnes) {
  const auto shown =
      Stack({TarBuilder().Add({.name = "a/", .type = '5', .mode = 0711, .uid = 5}).Dir("a/b", 0700),
             TarBuilder().File("a/b/c/d", "x")});
  EXPECT_EQ(shown.at("a"), "040711 5:0");
  EXPECT_EQ(shown.at("a/b"), "040700 0:0");
  EXPECT_EQ(shown.at("a/b/c"), "040755 0:0");
}

TEST_F(ApplyTest, HardLinksIntoLowerLayersCopyTheFileUp) {
  const auto shown = Stack({TarBuilder().Dir("d").Add({.name = "d/base", .mode = 0640, .uid = 7}, "below"),
                            TarBuilder().Hardlink("again", "d/base")});
  EXPECT_EQ(shown.at("again"), "100640 7:0 2 below");
  EXPECT_EQ(shown.at("d/base"), "100640 7:0 2 below");
}

TEST_F(ApplyTest, HardLinksToNothingAreRefused) {
  const std::string upper = Make("upper"), lower = Make("lower");
  WriteFile(lower + "/f", "x");
  EXPECT_TRUE(absl::IsNotFound(
      ApplyTo({.directory = upper, .overlay = true, .lowers = {lower}}, TarBuilder().Hardlink("h", "none"))));
  EXPECT_TRUE(absl::IsNotFound(ApplyTo({.directory = Make("upper2"), .overlay = true, .lowers = {lower}},
                                       TarBuilder().Whiteout("", "f").Hardlink("h", "f"))));
}

TEST_F(ApplyTest, NamesOutsideAreContained) {
  const std::string bait = Make("bait"), root = Make("root");
  const std::string up = "../../../../../../../..";
  ASSERT_TRUE(ApplyTo({.directory = root}, TarBuilder()
                                               .File(up + "/gantry-evil", "e")
                                               .File("/gantry-evil2", "e")
                                               .File("a/../../../.." + bait + "/one", "e")
                                               .Dir(up + bait + "/dir"))
                  .ok());
  EXPECT_THAT(Names(Shown({bait})), testing::IsEmpty());
  EXPECT_NE(::access("/gantry-evil", F_OK), 0);
  EXPECT_EQ(ReadFile(root + "/gantry-evil2"), "e");
  EXPECT_EQ(ReadFile(root + bait + "/one"), "e");
}

TEST_F(ApplyTest, CVE_2025_47290_SymlinksDoNotLeadOutside) {
  const std::string bait = Make("bait"), root = Make("root");
  WriteFile(bait + "/secret", "secret");
  ASSERT_EQ(::chmod((bait + "/secret").c_str(), 0600), 0);
  TarBuilder tar;
  tar.Symlink("abs", bait).Symlink("rel", "../../../../../../../../.." + bait).Symlink("loop", "loop");
  tar.File("abs/one", "e").Dir("abs/sub").Symlink("abs/l", "x").File("rel/two", "e");
  tar.Add({.name = "abs/node", .type = '3', .mode = 0777, .major = 1, .minor = 3});
  tar.Whiteout("abs", "secret").Opaque("abs").Opaque("rel");
  // A name that is a symlink is replaced, never written or chmod'ed through.
  tar.Symlink("final", bait + "/secret")
      .File("final", "mine", 0777)
      .Symlink("final", bait)
      .Dir("final", 0777);
  ASSERT_TRUE(ApplyTo({.directory = root}, tar).ok());
  EXPECT_THAT(Shown({bait}), ElementsAre(testing::Pair("secret", "100600 0:0 1 secret")));
  EXPECT_EQ(ReadFile(root + bait + "/two"), "e");
  EXPECT_FALSE(ApplyTo({.directory = root}, TarBuilder().Symlink("loop", "loop").File("loop/x", "e")).ok());
}

TEST_F(ApplyTest, CVE_2026_17106_HardLinksDoNotReachOutside) {
  const std::string bait = Make("bait"), root = Make("root");
  WriteFile(bait + "/secret", "secret");
  for (const std::string& target :
       {bait + "/secret", "../../../../.." + bait + "/secret", std::string("dir/secret")}) {
    EXPECT_FALSE(
        ApplyTo({.directory = root}, TarBuilder().Symlink("dir", bait).Hardlink("stolen", target)).ok());
  }
  // A hard link to a symlink is the symlink, not its target.
  ASSERT_TRUE(
      ApplyTo({.directory = root}, TarBuilder().Symlink("s", bait + "/secret").Hardlink("h", "s")).ok());
  struct stat st;
  ASSERT_EQ(::stat((bait + "/secret").c_str(), &st), 0);
  EXPECT_EQ(st.st_nlink, 1u);
}

TEST_F(ApplyTest, WhiteoutsOfNoOrdinaryNameAreRefused) {
  for (const char* name : {".", "..", ""}) {
    EXPECT_TRUE(
        absl::IsInvalidArgument(ApplyTo({.directory = Make("root")}, TarBuilder().Whiteout("d", name))))
        << name;
  }
  EXPECT_TRUE(ApplyTo({.directory = Make("root")}, TarBuilder().File(".wh..wh.plnk", "")).ok());
}

TEST_F(ApplyTest, FilesAreNoDirectories) {
  EXPECT_TRUE(
      absl::IsInvalidArgument(ApplyTo({.directory = Make("r")}, TarBuilder().File("f", "").File("f/g", ""))));
  EXPECT_FALSE(
      ApplyTo({.directory = Make("r")}, TarBuilder().Pax({{"path", std::string(300, 'n')}}).File("n", ""))
          .ok());
}

TEST_F(ApplyTest, CVE_2021_32760_ASwapperFindsNoWayOut) {
  const std::string bait = Make("bait"), root = Make("root");
  Make("root/d");
  Make("swap");
  ASSERT_EQ(::symlink(bait.c_str(), (root + "/link").c_str()), 0);
  std::atomic<bool> stop{false};
  std::thread swapper([&] {
    while (!stop) {
      (void)::renameat2(AT_FDCWD, (root + "/d").c_str(), AT_FDCWD, (root + "/link").c_str(), RENAME_EXCHANGE);
    }
  });
  for (int i = 0; i < 300; ++i) {
    TarBuilder tar;
    for (int j = 0; j < 5; ++j) tar.File(absl::StrCat("d/f", j), "e", 0777).Dir(absl::StrCat("d/s", j), 0777);
    tar.Whiteout("d", "x");
    (void)ApplyTo({.directory = root}, tar);  // may fail; must not leave the root
  }
  stop = true;
  swapper.join();
  EXPECT_THAT(Names(Shown({bait})), testing::IsEmpty());
}

}  // namespace
}  // namespace gantry::diff
