#include "snapshotter/diff/decompress.h"

#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include "absl/strings/str_cat.h"

namespace gantry::diff {
namespace {

std::string Gzip(absl::string_view data) {
  z_stream stream = {};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, data.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string Zstd(absl::string_view data, int checksum = 1) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, checksum);
  std::string out(ZSTD_compressBound(data.size()), '\0');
  out.resize(ZSTD_compress2(context, out.data(), out.size(), data.data(), data.size()));
  ZSTD_freeCCtx(context);
  return out;
}

absl::StatusOr<std::string> Inflate(const std::string& bytes, size_t chunk) {
  auto source = Decompress(std::make_unique<StringSource>(bytes, chunk));
  if (!source.ok()) return source.status();
  std::string out;
  for (;;) {
    auto piece = (*source)->Next();
    if (!piece.ok()) return piece.status();
    if (piece->empty()) return out;
    out.append(piece->data(), piece->size());
  }
}

std::string Text(size_t size) {
  std::string text;
  uint32_t seed = 7;
  while (text.size() < size) absl::StrAppend(&text, "word", (seed = seed * 1664525 + 1013904223) >> 20, " ");
  text.resize(size);
  return text;
}

TEST(DecompressTest, KnowsTheFormByTheFirstBytes) {
  EXPECT_EQ(DetectCompression(Gzip("x")), Compression::kGzip);
  EXPECT_EQ(DetectCompression(Zstd("x")), Compression::kZstd);
  EXPECT_EQ(DetectCompression(absl::string_view("\x5a\x2a\x4d\x18", 4)), Compression::kZstd);
  EXPECT_EQ(DetectCompression("usr/"), Compression::kNone);
  EXPECT_EQ(DetectCompression(""), Compression::kNone);
}

TEST(DecompressTest, InflatesWhateverTheChunksAndHoweverManyMembers) {
  const std::string a = Text(300'000), b = Text(70'000);
  for (const size_t chunk : {size_t{1}, size_t{5}, size_t{4096}, size_t{1} << 20}) {
    for (const std::string& bytes :
         {a + b, Gzip(a) + Gzip(b), Gzip(a) + Gzip("") + Gzip(b) + std::string(700, '\0'), Zstd(a) + Zstd(b),
          Zstd(a) + std::string("\x50\x2a\x4d\x18\x03\0\0\0xyz", 11) + Zstd(b, 0)}) {
      const auto out = Inflate(bytes, chunk);
      ASSERT_TRUE(out.ok()) << out.status() << " chunk " << chunk;
      EXPECT_TRUE(*out == a + b) << chunk;
    }
  }
  EXPECT_EQ(*Inflate("", 100), "");
  EXPECT_EQ(*Inflate(Gzip(""), 1), "");
}

TEST(DecompressTest, CutStreamsAreDataLoss) {
  const std::string text = Text(100'000);
  for (const std::string& whole : {Gzip(text), Zstd(text)}) {
    for (const size_t cut :
         {size_t{1}, size_t{4}, size_t{8}, size_t{40}, whole.size() / 2, whole.size() - 4}) {
      const auto out = Inflate(whole.substr(0, whole.size() - cut), 1000);
      EXPECT_EQ(out.status().code(), absl::StatusCode::kDataLoss) << cut;
    }
  }
}

TEST(DecompressTest, DamageIsDataLoss) {
  const std::string text = Text(100'000);
  std::string crc = Gzip(text);
  crc[crc.size() - 6] ^= 1;
  EXPECT_NE(Inflate(crc, 1000).status().message().find("checksum"), std::string::npos);
  std::string zstd = Zstd(text);
  zstd[zstd.size() / 2] ^= 0x55;
  EXPECT_EQ(Inflate(zstd, 1000).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Inflate(Gzip(text) + "garbage", 1000).status().code(), absl::StatusCode::kDataLoss);
}

TEST(DecompressTest, CVE_2023_25153_BombsStreamThrough) {
  const std::string bomb = Gzip(std::string(64 << 20, '\0'));
  auto source = Decompress(std::make_unique<StringSource>(bomb));
  ASSERT_TRUE(source.ok());
  size_t total = 0, largest = 0;
  for (;;) {
    const auto piece = (*source)->Next();
    ASSERT_TRUE(piece.ok());
    if (piece->empty()) break;
    total += piece->size();
    largest = std::max(largest, piece->size());
  }
  EXPECT_EQ(total, 64u << 20);
  EXPECT_LE(largest, 1u << 20);
}

}  // namespace
}  // namespace gantry::diff
