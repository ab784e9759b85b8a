#include "snapshotter/diff/tar_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "snapshotter/diff/tar_builder.h"
#include "snapshotter/diff/tar_writer.h"

namespace gantry::diff {
namespace {

struct Read {
  std::vector<TarEntry> entries;
  std::map<std::string, std::string> content;  // holes as zeros
  absl::Status status;
};

Read ReadAll(const std::string& bytes, size_t chunk = 1 << 16) {
  Read read;
  StringSource source(bytes, chunk);
  InputBuffer input(&source);
  TarReader reader(&input);
  TarEntry entry;
  for (;;) {
    const auto more = reader.Next(&entry);
    read.status = more.status();
    if (!more.ok() || !*more) return read;
    read.entries.push_back(entry);
    std::string content;
    for (;;) {
      const auto piece = reader.ReadPiece();
      if (!piece.ok()) {
        read.status = piece.status();
        return read;
      }
      if (piece->bytes.empty()) break;
      content.resize(static_cast<size_t>(piece->offset), '\0');
      content.append(piece->bytes.data(), piece->bytes.size());
    }
    if (entry.size < (1 << 24)) content.resize(static_cast<size_t>(entry.size), '\0');
    read.content[entry.name] = content;
  }
}

bool Refused(const std::string& bytes) {
  const Read read = ReadAll(bytes);
  return absl::IsInvalidArgument(read.status) && read.status.message().find("tar: ") != std::string::npos;
}

TEST(TarNumberTest, ReadsOctalAndBase256) {
  EXPECT_EQ(*ParseTarNumber(absl::string_view("0000644\0", 8)), 0644);
  EXPECT_EQ(*ParseTarNumber("  644 "), 0644);
  EXPECT_EQ(*ParseTarNumber(absl::string_view("\0\0\0\0", 4)), 0);
  EXPECT_EQ(*ParseTarNumber(TarBuilder::Base256(1ull << 40, 12)), 1ll << 40);
  EXPECT_EQ(*ParseTarNumber(absl::string_view("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe", 12)), -2);
  EXPECT_FALSE(
      ParseTarNumber(absl::string_view("\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12)).ok());
  EXPECT_FALSE(ParseTarNumber("12x").ok());
  EXPECT_FALSE(ParseTarNumber("8").ok());
}

TEST(PaxTest, ReadsTimes) {
  const auto is = [](const char* text, int64_t seconds, long nanoseconds) {
    const auto time = ParsePaxTime(text);
    return time.ok() && time->tv_sec == seconds && time->tv_nsec == nanoseconds;
  };
  EXPECT_TRUE(is("12", 12, 0));
  EXPECT_TRUE(is("12.5", 12, 500000000));
  EXPECT_TRUE(is("12.123456789123", 12, 123456789));
  EXPECT_TRUE(is("-1.25", -2, 750000000));
  EXPECT_TRUE(is("-3", -3, 0));
  for (const char* bad : {"", ".5", "--1", "1.x", "x", "1e9", "99999999999999999999"}) {
    EXPECT_FALSE(ParsePaxTime(bad).ok()) << bad;
  }
}

TEST(PaxTest, RefusesWhatIsNoRecord) {
  for (const char* bad : {"5 a=b", "6 a=b\n\n", "x a=b\n", "3 a\n", "0 \n", "99 a=b\n", "6 =ab\n", "-6 a=b\n",
                          "6a=bc\n", "18446744073709551622 a=b\n"}) {
    EXPECT_FALSE(ParsePaxRecords(bad).ok()) << bad;
  }
  EXPECT_EQ(ParsePaxRecords("6 a=b\n7 c=\n\n\n")->size(), 2u);
}

TEST(TarReaderTest, ReadsEveryTypeWhateverTheChunks) {
  TarBuilder tar;
  tar.Dir("d", 01777).File("d/f", "content").Symlink("s", "d/f").Hardlink("h", "d/f");
  tar.Add({.name = "c", .type = '3', .major = 1, .minor = 3}).Add({.name = "b", .type = '4', .major = 7});
  tar.Add({.name = "p", .type = '6'}).Add({.name = "old", .type = '\0', .magic = ""}, "v7");
  tar.Add({.name = "olddir/", .type = '0', .magic = ""}).Add({.name = "contiguous", .type = '7'}, "c");
  for (const size_t chunk : {1, 7, 511, 512, 513, 1 << 16}) {
    const Read read = ReadAll(tar.Build(), static_cast<size_t>(chunk));
    ASSERT_TRUE(read.status.ok()) << read.status;
    ASSERT_EQ(read.entries.size(), 10u);
    EXPECT_EQ(read.entries[0].type, EntryType::kDirectory);
    EXPECT_EQ(read.entries[0].mode, 01777u);
    EXPECT_EQ(read.content.at("d/f"), "content");
    EXPECT_EQ(read.entries[2].link, "d/f");
    EXPECT_EQ(read.entries[3].type, EntryType::kHardlink);
    EXPECT_EQ(read.entries[4].dev_minor, 3u);
    EXPECT_EQ(read.entries[5].type, EntryType::kBlockDevice);
    EXPECT_EQ(read.entries[6].type, EntryType::kFifo);
    EXPECT_EQ(read.content.at("old"), "v7");
    EXPECT_EQ(read.entries[8].type, EntryType::kDirectory);
    EXPECT_EQ(read.content.at("contiguous"), "c");
  }
}

TEST(TarReaderTest, JoinsUstarsPrefixAndOldGosPrefixInGnuHeaders) {
  TarBuilder tar;
  tar.Add({.name = "name", .prefix = "some/dir"}, "1");
  tar.Add({.name = "name2", .magic = TarBuilder::GnuMagic(), .prefix = "other/dir"}, "2");
  tar.Add({.name = "name3", .magic = TarBuilder::GnuMagic(), .prefix = "00001234567"},
          "3");  // an access time
  const Read read = ReadAll(tar.Build());
  ASSERT_TRUE(read.status.ok()) << read.status;
  EXPECT_EQ(read.entries[0].name, "some/dir/name");
  EXPECT_EQ(read.entries[1].name, "other/dir/name2");
  EXPECT_EQ(read.entries[2].name, "name3");
}

TEST(TarReaderTest, TakesPaxOverTheHeader) {
  TarBuilder tar;
  const std::string path = std::string(300, 'p') + "/\xc3\xbc";
  tar.Pax({{"path", path},
           {"size", "3"},
           {"uid", "4000000000"},
           {"gid", "2097152"},
           {"mtime", "5.000000001"},
           {"atime", "6"},
           {"SCHILY.xattr.user.eq", "a=b\nc=d"},
           {"SCHILY.xattr.user.empty", ""}});
  tar.Add({.name = "short"}, "abc").File("after", "x");
  const Read read = ReadAll(tar.Build());
  ASSERT_TRUE(read.status.ok()) << read.status;
  const TarEntry& entry = read.entries[0];
  EXPECT_EQ(entry.name, path);
  EXPECT_EQ(read.content.at(path), "abc");
  EXPECT_EQ(entry.uid, 4000000000u);
  EXPECT_EQ(entry.gid, 2097152u);
  EXPECT_EQ(entry.mtime.tv_nsec, 1);
  EXPECT_EQ(entry.atime.tv_sec, 6);
  EXPECT_THAT(entry.xattrs,
              testing::ElementsAre(testing::Pair("user.eq", "a=b\nc=d"), testing::Pair("user.empty", "")));
  EXPECT_TRUE(read.entries[1].xattrs.empty());  // a pax header counts for one entry
}

TEST(TarReaderTest, SkipsGlobalPaxHeadersEvenAtTheEnd) {
  TarBuilder tar;
  tar.Pax({{"path", "global"}}, 'g').File("f", "x").Pax({{"comment", "end"}}, 'g');
  const Read read = ReadAll(tar.Build());
  ASSERT_TRUE(read.status.ok()) << read.status;
  ASSERT_EQ(read.entries.size(), 1u);
  EXPECT_EQ(read.entries[0].name, "f");
}

TEST(TarReaderTest, ReadsGnuLongNamesAndBase256) {
  const std::string name = std::string(200, 'n') + "/" + std::string(200, 'm'), link(300, 'l');
  TarBuilder tar;
  tar.Add({.name = "././@LongLink", .type = 'L', .magic = TarBuilder::GnuMagic()}, name + '\0');
  tar.Add({.name = "././@LongLink", .type = 'K', .magic = TarBuilder::GnuMagic()}, link + '\0');
  tar.Add({.name = "cut", .type = '2', .uid = 4294967294, .link = "cut", .magic = TarBuilder::GnuMagic()});
  tar.Add({.name = "big", .magic = TarBuilder::GnuMagic(), .patches = {{124, TarBuilder::Base256(4, 12)}}},
          "1234");
  const Read read = ReadAll(tar.Build());
  ASSERT_TRUE(read.status.ok()) << read.status;
  EXPECT_EQ(read.entries[0].name, name);
  EXPECT_EQ(read.entries[0].link, link);
  EXPECT_EQ(read.entries[0].uid, 4294967294u);
  EXPECT_EQ(read.content.at("big"), "1234");
}

std::string GnuSparse(bool extended) {
  std::string head;
  for (int i = 0; i < 4; ++i) {
    head += TarBuilder::Octal(static_cast<uint64_t>(i) * 1024, 12) + '\0' + TarBuilder::Octal(4, 12) + '\0';
  }
  head += extended ? '\1' : '\0';
  head += TarBuilder::Octal(10000, 12) + '\0';
  TarBuilder tar;
  const std::string data = extended ? "aaaabbbbccccddddee" : "aaaabbbbccccdddd";
  RawHeader header = {.name = "s",
                      .type = 'S',
                      .size = static_cast<int64_t>(data.size()),
                      .magic = TarBuilder::GnuMagic(),
                      .patches = {{386, head}}};
  tar.Add(header);
  if (extended) {
    std::string block(512, '\0');
    const std::string extent = TarBuilder::Octal(8192, 12) + '\0' + TarBuilder::Octal(2, 12) + '\0';
    std::memcpy(block.data(), extent.data(), extent.size());
    tar.Raw(block);
  }
  tar.Raw(data + std::string(512 - data.size(), '\0')).File("after", "in step");
  return tar.Build();
}

TEST(TarReaderTest, ReadsOldGnuSparseFiles) {
  for (const bool extended : {false, true}) {
    const Read read = ReadAll(GnuSparse(extended));
    ASSERT_TRUE(read.status.ok()) << read.status;
    const std::string& content = read.content.at("s");
    ASSERT_EQ(content.size(), 10000u);
    EXPECT_EQ(content.substr(1024, 4), "bbbb");
    EXPECT_EQ(content.substr(3072, 5), std::string("dddd\0", 5));
    EXPECT_EQ(content.substr(8192, 2), extended ? "ee" : std::string(2, '\0'));
    EXPECT_EQ(read.content.at("after"), "in step");
  }
}

TEST(TarReaderTest, ReadsPaxSparseFilesOfAllThreeFormats) {
  std::string map = "2\n0\n3\n5000\n2\n";
  map.resize(512, '\0');
  std::vector<std::string> archives;
  archives.push_back(TarBuilder()
                         .Pax({{"GNU.sparse.size", "6000"},
                               {"GNU.sparse.numblocks", "2"},
                               {"GNU.sparse.offset", "0"},
                               {"GNU.sparse.numbytes", "3"},
                               {"GNU.sparse.offset", "5000"},
                               {"GNU.sparse.numbytes", "2"}})
                         .File("s", "abcde")
                         .File("after", "in step")
                         .Build());
  archives.push_back(
      TarBuilder()
          .Pax({{"GNU.sparse.size", "6000"}, {"GNU.sparse.name", "s"}, {"GNU.sparse.map", "0,3,5000,2"}})
          .File("GNUSparse.0/s", "abcde")
          .File("after", "in step")
          .Build());
  archives.push_back(TarBuilder()
                         .Pax({{"GNU.sparse.major", "1"},
                               {"GNU.sparse.minor", "0"},
                               {"GNU.sparse.name", "s"},
                               {"GNU.sparse.realsize", "6000"}})
                         .File("GNUSparse.0/s", map + "abcde")
                         .File("after", "in step")
                         .Build());
  for (const std::string& archive : archives) {
    const Read read = ReadAll(archive, 100);
    ASSERT_TRUE(read.status.ok()) << read.status;
    const std::string& content = read.content.at("s");
    ASSERT_EQ(content.size(), 6000u);
    EXPECT_EQ(content.substr(0, 4), std::string("abc\0", 4));
    EXPECT_EQ(content.substr(5000, 3), std::string("de\0", 3));
    EXPECT_EQ(read.content.at("after"), "in step");
  }
}

TEST(TarReaderTest, CVE_2025_58183_RefusesSparseMapsThatLie) {
  for (const char* map : {"0,3,2,2", "5000,3,0,2", "0,5,7000,0", "0,4", "0,6", "0,-5", "-1,5", "0", "0,5,",
                          "9223372036854775807,5", "0,9223372036854775807"}) {
    EXPECT_TRUE(Refused(
        TarBuilder().Pax({{"GNU.sparse.size", "6000"}, {"GNU.sparse.map", map}}).File("s", "abcde").Build()))
        << map;
  }
  std::string huge = "999999999\n";
  huge.resize(512, '\0');
  EXPECT_TRUE(
      Refused(TarBuilder()
                  .Pax({{"GNU.sparse.major", "1"}, {"GNU.sparse.minor", "0"}, {"GNU.sparse.realsize", "1"}})
                  .File("s", huge)
                  .Build()));
}

TEST(TarReaderTest, RefusesWhatBreaksTheRules) {
  std::string flipped = TarBuilder().File("f", "x").Build();
  flipped[150] ^= 1;
  EXPECT_TRUE(Refused(flipped)) << "checksum";
  EXPECT_TRUE(Refused(std::string(1024, 'n'))) << "no tar";
  EXPECT_TRUE(Refused(TarBuilder().Add({.name = "v", .type = 'V'}).Build())) << "volume header";
  EXPECT_TRUE(Refused(TarBuilder().Add({.name = "m", .type = 'M'}).Build())) << "multi-volume";
  EXPECT_TRUE(Refused(TarBuilder().Add({.name = ""}).Build())) << "no name";
  EXPECT_TRUE(Refused(TarBuilder().Add({.name = "u", .uid = 4294967295}).Build())) << "uid -1";
  EXPECT_TRUE(Refused(TarBuilder().Pax({{"uid", "-1"}}).File("u", "").Build())) << "negative uid";
  EXPECT_TRUE(Refused(TarBuilder().Pax({{"path", std::string("a\0b", 3)}}).File("u", "").Build())) << "NUL";
  EXPECT_TRUE(Refused(TarBuilder().Pax({{"size", "-5"}}).File("u", "").Build())) << "negative size";
  EXPECT_TRUE(Refused(TarBuilder().Pax({{"mtime", "soon"}}).File("u", "").Build())) << "time";
  EXPECT_TRUE(Refused(TarBuilder().Pax({{"path", "x"}}).Build())) << "pax header without an entry";
  EXPECT_TRUE(Refused(TarBuilder().Add({.name = "c", .type = '3', .major = 5000}).Build())) << "device";
  EXPECT_TRUE(Refused(TarBuilder().Symlink("s", "").Build())) << "link to nothing";
  EXPECT_TRUE(Refused(TarBuilder().Add({.name = "x", .type = 'x', .size = 2 << 20}).Build())) << "huge pax";
  EXPECT_TRUE(Refused(TarBuilder().File("f", "x").Raw(std::string(512, '\0')).File("g", "y").Build()))
      << "zeros";
  TarBuilder chain;
  for (int i = 0; i < 20; ++i) chain.Pax({{"a", "b"}});
  EXPECT_TRUE(Refused(chain.File("f", "").Build())) << "endless headers";
}

TEST(TarReaderTest, TakesEveryEndThatIsOne) {
  const std::string body = TarBuilder().File("f", "x").bytes();
  for (const std::string& end : {std::string(), std::string(512, '\0'), std::string(1024, '\0'),
                                 std::string(10240, '\0'), std::string(1024, '\0') + "garbage"}) {
    const Read read = ReadAll(body + end);
    EXPECT_TRUE(read.status.ok()) << read.status;
    EXPECT_EQ(read.entries.size(), 1u);
  }
  EXPECT_TRUE(ReadAll("").status.ok());
}

TEST(TarReaderTest, CutArchivesAreDataLossNotShortFiles) {
  const std::string whole = TarBuilder().File("f", std::string(2000, 'x')).Build();
  for (const size_t size : {100, 511, 513, 1000, 2500}) {
    EXPECT_EQ(ReadAll(whole.substr(0, size)).status.code(), absl::StatusCode::kDataLoss) << size;
    EXPECT_NE(ReadAll(whole.substr(0, size)).status.message().find("EOF"), std::string::npos) << size;
  }
}

TEST(TarReaderTest, NoDamagedByteCrashesIt) {
  const std::string good =
      GnuSparse(true) + TarBuilder()
                            .Pax({{"path", "p"}, {"GNU.sparse.size", "6"}, {"GNU.sparse.map", "0,1"}})
                            .File("s", "a")
                            .Build();
  for (size_t at = 0; at < good.size(); at += 3) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x80);
    (void)ReadAll(bad);
    (void)ReadAll(good.substr(0, at));
  }
}

TEST(TarWriterTest, WhatItWritesReadsBack) {
  std::string bytes;
  TarWriter writer([&bytes](absl::string_view piece) {
    bytes.append(piece.data(), piece.size());
    return absl::OkStatus();
  });
  TarEntry dir;
  dir.type = EntryType::kDirectory;
  dir.name = std::string(120, 'd');
  dir.mode = 02755;
  TarEntry file;
  file.name = "\xc3\xbc/f";
  file.size = 3;
  file.uid = 4000000000;
  file.mtime.tv_sec = -7;
  file.xattrs = {{"user.note", std::string("\0\n=", 3)}};
  TarEntry link;
  link.type = EntryType::kSymlink;
  link.name = "l";
  link.link = std::string(400, 't');
  ASSERT_TRUE(writer.AddHeader(dir).ok());
  ASSERT_TRUE(writer.AddHeader(file).ok());
  EXPECT_FALSE(writer.AddHeader(link).ok());  // content first
  ASSERT_TRUE(writer.AddContent("abc").ok());
  EXPECT_FALSE(writer.AddContent("d").ok());
  ASSERT_TRUE(writer.AddHeader(link).ok());
  ASSERT_TRUE(writer.Finish().ok());
  EXPECT_EQ(bytes.size() % 512, 0u);
  const Read read = ReadAll(bytes);
  ASSERT_TRUE(read.status.ok()) << read.status;
  ASSERT_EQ(read.entries.size(), 3u);
  EXPECT_EQ(read.entries[0].name, dir.name + "/");
  EXPECT_EQ(read.entries[0].mode, 02755u);
  EXPECT_EQ(read.entries[1].name, file.name);
  EXPECT_EQ(read.entries[1].uid, file.uid);
  EXPECT_EQ(read.entries[1].mtime.tv_sec, -7);
  EXPECT_EQ(read.entries[1].xattrs, file.xattrs);
  EXPECT_EQ(read.content.at(file.name), "abc");
  EXPECT_EQ(read.entries[2].link, link.link);
}

}  // namespace
}  // namespace gantry::diff
