// Archives for tests, field by field, also wrong ones. For tests only.
#ifndef GANTRY_SNAPSHOTTER_DIFF_TAR_BUILDER_H_
#define GANTRY_SNAPSHOTTER_DIFF_TAR_BUILDER_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace gantry::diff {

struct RawHeader {
  std::string name;
  char type = '0';
  uint32_t mode = 0644;
  uint64_t uid = 0;
  uint64_t gid = 0;
  int64_t size = -1;  // -1: the body's
  int64_t mtime = 1'600'000'000;
  std::string link;
  std::string magic = std::string("ustar\00000", 8);
  uint32_t major = 0;
  uint32_t minor = 0;
  std::string prefix;
  std::vector<std::pair<size_t, std::string>>
      patches;  // raw bytes at an offset of the block, before the checksum
};

class TarBuilder {
 public:
  static std::string Octal(uint64_t value, int width) { return absl::StrFormat("%0*o", width - 1, value); }
  static std::string Base256(uint64_t value, int width) {
    std::string text(static_cast<size_t>(width), '\0');
    for (int i = width - 1; i > 0; --i, value >>= 8) text[static_cast<size_t>(i)] = static_cast<char>(value);
    text[0] = static_cast<char>(0x80);
    return text;
  }
  static std::string PaxRecord(absl::string_view key, absl::string_view value) {
    const size_t rest = key.size() + value.size() + 3;
    size_t length = rest + 1;
    while (absl::StrCat(length).size() + rest != length) ++length;
    return absl::StrCat(length, " ", key, "=", value, "\n");
  }
  static std::string GnuMagic() { return std::string("ustar  \0", 8); }

  TarBuilder& Add(const RawHeader& header, absl::string_view body = "") {
    std::string block(512, '\0');
    const auto put = [&block](size_t at, absl::string_view text) {
      std::memcpy(block.data() + at, text.data(), text.size());
    };
    const uint64_t size = header.size < 0 ? body.size() : static_cast<uint64_t>(header.size);
    put(0, absl::string_view(header.name).substr(0, 100));
    put(100, Octal(header.mode, 8));
    put(108, header.uid > 07777777 ? Base256(header.uid, 8) : Octal(header.uid, 8));
    put(116, header.gid > 07777777 ? Base256(header.gid, 8) : Octal(header.gid, 8));
    put(124, Octal(size, 12));
    put(136, Octal(static_cast<uint64_t>(header.mtime), 12));
    block[156] = header.type;
    put(157, absl::string_view(header.link).substr(0, 100));
    put(257, header.magic);
    put(329, Octal(header.major, 8));
    put(337, Octal(header.minor, 8));
    put(345, header.prefix);
    for (const auto& [at, bytes] : header.patches) put(at, bytes);
    put(148, "        ");
    uint64_t sum = 0;
    for (const char c : block) sum += static_cast<unsigned char>(c);
    put(148, absl::StrFormat("%06o", sum));
    block[154] = '\0';
    bytes_ += block;
    bytes_.append(body.data(), body.size());
    bytes_.resize((bytes_.size() + 511) / 512 * 512, '\0');
    return *this;
  }
  // A pax header for the next entry.
  TarBuilder& Pax(const std::vector<std::pair<std::string, std::string>>& records, char type = 'x') {
    std::string body;
    for (const auto& [key, value] : records) body += PaxRecord(key, value);
    return Add({.name = "PaxHeaders.0/x", .type = type}, body);
  }
  TarBuilder& File(const std::string& name, absl::string_view body, uint32_t mode = 0644) {
    return Add({.name = name, .mode = mode}, body);
  }
  TarBuilder& Dir(const std::string& name, uint32_t mode = 0755) {
    return Add({.name = name + "/", .type = '5', .mode = mode});
  }
  TarBuilder& Symlink(const std::string& name, const std::string& target) {
    return Add({.name = name, .type = '2', .mode = 0777, .link = target});
  }
  TarBuilder& Hardlink(const std::string& name, const std::string& target) {
    return Add({.name = name, .type = '1', .link = target});
  }
  TarBuilder& Whiteout(const std::string& directory, const std::string& name) {
    return File(absl::StrCat(directory, directory.empty() ? "" : "/", ".wh.", name), "");
  }
  TarBuilder& Opaque(const std::string& directory) { return File(directory + "/.wh..wh..opq", ""); }
  TarBuilder& Raw(absl::string_view bytes) {
    bytes_.append(bytes.data(), bytes.size());
    return *this;
  }

  const std::string& bytes() const { return bytes_; }
  std::string Build() const { return bytes_ + std::string(1024, '\0'); }

 private:
  std::string bytes_;
};

}  // namespace gantry::diff

#endif  // GANTRY_SNAPSHOTTER_DIFF_TAR_BUILDER_H_
