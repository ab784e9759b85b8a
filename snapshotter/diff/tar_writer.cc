#include "snapshotter/diff/tar_writer.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "runtime/sys/status.h"

namespace gantry::diff {
namespace {

constexpr size_t kNameBytes = 100;
constexpr int64_t kMaxOctal7 = 07777777;
constexpr int64_t kMaxOctal11 = 077777777777;

char TypeFlag(EntryType type) {
  switch (type) {
    case EntryType::kFile:
      return '0';
    case EntryType::kHardlink:
      return '1';
    case EntryType::kSymlink:
      return '2';
    case EntryType::kCharDevice:
      return '3';
    case EntryType::kBlockDevice:
      return '4';
    case EntryType::kDirectory:
      return '5';
    case EntryType::kFifo:
      return '6';
  }
  return '0';
}

bool IsAscii(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

// Its length counts its own digits.
std::string PaxRecord(absl::string_view key, absl::string_view value) {
  const size_t rest = key.size() + value.size() + 3;
  size_t length = rest + 1;
  while (absl::StrCat(length).size() + rest != length) ++length;
  return absl::StrCat(length, " ", key, "=", value, "\n");
}

// What does not fit reads 0; a pax record has it.
std::string Octal(int64_t value, int digits) {
  const int64_t limit = digits == 7 ? kMaxOctal7 : kMaxOctal11;
  return absl::StrFormat("%0*o", digits, value < 0 || value > limit ? 0 : value);
}

std::string HeaderBlock(absl::string_view name, absl::string_view link, char type, const TarEntry& entry) {
  std::string block(kTarBlockBytes, '\0');
  const auto put = [&block](size_t at, absl::string_view text) {
    std::memcpy(block.data() + at, text.data(), text.size());
  };
  put(0, name.substr(0, kNameBytes));
  put(100, Octal(entry.mode & 07777, 7));
  put(108, Octal(entry.uid, 7));
  put(116, Octal(entry.gid, 7));
  put(124, Octal(entry.size, 11));
  put(136, Octal(entry.mtime.tv_sec, 11));
  block[156] = type;
  put(157, link.substr(0, kNameBytes));
  put(257, absl::string_view("ustar\00000", 8));
  if (type == '3' || type == '4') {
    put(329, Octal(entry.dev_major, 7));
    put(337, Octal(entry.dev_minor, 7));
  }
  put(148, "        ");
  int64_t sum = 0;
  for (const char c : block) sum += static_cast<unsigned char>(c);
  put(148, absl::StrFormat("%06o", sum));
  block[154] = '\0';
  return block;
}

}  // namespace

absl::Status TarWriter::Pad() {
  const int64_t padding = -written_ & static_cast<int64_t>(kTarBlockBytes - 1);
  if (padding == 0) return absl::OkStatus();
  written_ += padding;
  return sink_(std::string(static_cast<size_t>(padding), '\0'));
}

absl::Status TarWriter::AddPax(const TarEntry& entry, const std::string& name) {
  std::string records;
  if (name.size() > kNameBytes || !IsAscii(name)) records += PaxRecord("path", name);
  if (entry.link.size() > kNameBytes || !IsAscii(entry.link)) records += PaxRecord("linkpath", entry.link);
  if (entry.size > kMaxOctal11) records += PaxRecord("size", absl::StrCat(entry.size));
  if (entry.uid > kMaxOctal7) records += PaxRecord("uid", absl::StrCat(entry.uid));
  if (entry.gid > kMaxOctal7) records += PaxRecord("gid", absl::StrCat(entry.gid));
  if (entry.mtime.tv_sec < 0 || entry.mtime.tv_sec > kMaxOctal11) {
    records += PaxRecord("mtime", absl::StrCat(entry.mtime.tv_sec));
  }
  for (const auto& [key, value] : entry.xattrs)
    records += PaxRecord(absl::StrCat("SCHILY.xattr.", key), value);
  if (records.empty()) return absl::OkStatus();
  TarEntry header;
  header.size = static_cast<int64_t>(records.size());
  const std::string base = name.substr(0, name.find_last_not_of('/') + 1);
  const std::string pax_name = absl::StrCat("PaxHeaders.0/", base.substr(base.rfind('/') + 1));
  GANTRY_RETURN_IF_ERROR(
      sink_(HeaderBlock(IsAscii(pax_name) ? pax_name : "PaxHeaders.0/x", "", 'x', header)));
  GANTRY_RETURN_IF_ERROR(sink_(records));
  written_ += static_cast<int64_t>(kTarBlockBytes + records.size());
  return Pad();
}

absl::Status TarWriter::AddHeader(const TarEntry& entry) {
  if (content_left_ != 0) return absl::InternalError("tar: the content of the entry before is incomplete");
  GANTRY_RETURN_IF_ERROR(Pad());
  const std::string name = entry.type == EntryType::kDirectory ? absl::StrCat(entry.name, "/") : entry.name;
  GANTRY_RETURN_IF_ERROR(AddPax(entry, name));
  content_left_ = entry.type == EntryType::kFile ? entry.size : 0;
  written_ += kTarBlockBytes;
  return sink_(HeaderBlock(name, entry.link, TypeFlag(entry.type), entry));
}

absl::Status TarWriter::AddContent(absl::string_view bytes) {
  if (static_cast<int64_t>(bytes.size()) > content_left_) {
    return absl::InternalError("tar: more content than the header promised");
  }
  content_left_ -= static_cast<int64_t>(bytes.size());
  written_ += static_cast<int64_t>(bytes.size());
  return sink_(bytes);
}

absl::Status TarWriter::Finish() {
  if (content_left_ != 0) return absl::InternalError("tar: the content of the last entry is incomplete");
  GANTRY_RETURN_IF_ERROR(Pad());
  return sink_(std::string(2 * kTarBlockBytes, '\0'));
}

}  // namespace gantry::diff
