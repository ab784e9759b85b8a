#include "snapshotter/diff/compute.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/xattr.h>

#include "snapshotter/diff/apply.h"
#include "snapshotter/diff/tar_builder.h"
#include "snapshotter/diff/test_tree.h"

namespace gantry::diff {
namespace {

class ComputeTest : public TreeTest {
 protected:
  static snapshotter::Mount Bind(const std::string& path) { return {"bind", path, "", {"ro", "rbind"}}; }
  static snapshotter::Mount Overlay(const std::string& upper, const std::string& lower) {
    return {"overlay", "overlay", "", {"upperdir=" + upper, "lowerdir=" + lower}};
  }
  static std::string Layer(const snapshotter::Mount& left, const snapshotter::Mount& right,
                           Compression compression = Compression::kNone) {
    std::string bytes;
    const auto result =
        Compute({left}, {right}, {.compression = compression}, [&bytes](absl::string_view piece) {
          bytes.append(piece.data(), piece.size());
          return absl::OkStatus();
        });
    EXPECT_TRUE(result.ok()) << result.status();
    if (result.ok() && compression == Compression::kNone) {
      EXPECT_EQ(result->uncompressed, content::Digest::Of(bytes));
    }
    return bytes;
  }
  static std::vector<std::string> Names(const std::string& tar) {
    StringSource source(tar);
    InputBuffer input(&source);
    TarReader reader(&input);
    TarEntry entry;
    std::vector<std::string> names;
    while (reader.Next(&entry).value()) {
      names.push_back(entry.type == EntryType::kHardlink ? entry.name + "=" + entry.link : entry.name);
    }
    return names;
  }
  void Extract(const std::string& tar, TargetOptions target) {
    const absl::Status status = Apply(std::make_unique<StringSource>(tar), std::move(target)).status();
    ASSERT_TRUE(status.ok()) << status;
  }
};

using testing::ElementsAre;

TEST_F(ComputeTest, TellsWhatAnOverlaysUpperDirectoryChanged) {
  const std::string lower = Make("lower"), upper = Make("upper");
  Extract(TarBuilder()
              .Dir("etc")
              .File("etc/keep", "k")
              .File("etc/gone", "g")
              .File("etc/same", "s")
              .Dir("home")
              .File("home/old", "o")
              .Dir("untouched")
              .File("untouched/f", "")
              .Build(),
          {.directory = lower});
  Extract(
      TarBuilder().Whiteout("etc", "gone").File("etc/new", "n").File("etc/same", "s").Opaque("home").Build(),
      {.directory = upper, .overlay = true, .lowers = {lower}});
  const std::string tar = Layer(Bind(lower), Overlay(upper, lower));
  EXPECT_THAT(Names(tar), ElementsAre("etc/", "etc/.wh.gone", "etc/new", "home/", "home/.wh.old"));
  EXPECT_EQ(Layer(Bind(lower), Overlay(upper, lower)), tar);  // always the same bytes
  EXPECT_EQ(Layer(Bind(lower), Overlay(Make("nothing"), lower)), std::string(1024, '\0'));
  EXPECT_THAT(Names(Layer(Overlay(upper, lower), Bind(lower))),
              ElementsAre("etc/", "etc/gone", "etc/.wh.new", "home/", "home/old"));
}

TEST_F(ComputeTest, RoundTripGivesTheSameTree) {
  const std::string lower = Make("lower"), changed = Make("changed"), again = Make("again");
  const TarBuilder base = TarBuilder().Dir("a").File("a/f", "1").Dir("b").File("b/x", "x").File("b/y", "y");
  Extract(base.Build(), {.directory = lower});
  Extract(base.Build(), {.directory = changed});
  Extract(TarBuilder()
              .Whiteout("b", "x")
              .File("b/y", "changed", 04711)
              .Pax({{"SCHILY.xattr.user.note", "kept"}})
              .Add({.name = "noted", .uid = 3000000}, "n")
              .Hardlink("linked", "noted")
              .Symlink("s", std::string(150, 's'))
              .Add({.name = "null", .type = '3', .major = 1, .minor = 3})
              .Dir("a", 0700)
              .File(std::string(120, 'l') + "/" + std::string(120, 'm'), "long")
              .Build(),
          {.directory = changed});
  for (const Compression compression : {Compression::kNone, Compression::kGzip}) {
    const std::string layer = Layer(Bind(lower), Bind(changed), compression);
    const std::string upper = Make(compression == Compression::kNone ? "upper1" : "upper2");
    Extract(layer, {.directory = upper, .overlay = true, .lowers = {lower}});
    EXPECT_EQ(Shown({upper, lower}), Shown({changed}));
  }
}

TEST_F(ComputeTest, ANewNameOfAnOldFileTellsAllItsNames) {
  const std::string left = Make("left"), right = Make("right");
  for (const std::string& root : {left, right}) {
    Extract(TarBuilder().File("b", "content").Hardlink("c", "b").Build(), {.directory = root});
  }
  ASSERT_EQ(::link((right + "/b").c_str(), (right + "/a").c_str()), 0);
  EXPECT_THAT(Names(Layer(Bind(left), Bind(right))), ElementsAre("a", "b=a", "c=a"));
}

TEST_F(ComputeTest, TimesAreCutToTheNewestAllowed) {
  const std::string left = Make("left"), right = Make("right");
  Extract(TarBuilder().Add({.name = "f", .mtime = 2'000'000'000}, "x").Build(), {.directory = right});
  std::string bytes;
  ASSERT_TRUE(Compute({Bind(left)}, {Bind(right)},
                      {.compression = Compression::kNone, .newest = absl::FromUnixSeconds(1'000'000'000)},
                      [&bytes](absl::string_view piece) {
                        bytes.append(piece.data(), piece.size());
                        return absl::OkStatus();
                      })
                  .ok());
  StringSource source(bytes);
  InputBuffer input(&source);
  TarReader reader(&input);
  TarEntry entry;
  ASSERT_TRUE(reader.Next(&entry).value());
  EXPECT_EQ(entry.mtime.tv_sec, 1'000'000'000);
}

TEST_F(ComputeTest, AFullSinkEndsIt) {
  const std::string left = Make("left"), right = Make("right");
  WriteFile(right + "/f", "x");
  const auto result = Compute({Bind(left)}, {Bind(right)}, {.compression = Compression::kNone},
                              [](absl::string_view) { return absl::ResourceExhaustedError("full"); });
  EXPECT_TRUE(absl::IsResourceExhausted(result.status()));
}

}  // namespace
}  // namespace gantry::diff
