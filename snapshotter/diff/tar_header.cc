#include "snapshotter/diff/tar_header.h"

#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/sys/status.h"

namespace gantry::diff {
namespace {

absl::Status Invalid(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("tar: ", what));
}

// A field of text ends at its first NUL.
std::string Text(absl::string_view field) { return std::string(field.substr(0, field.find('\0'))); }

absl::StatusOr<int64_t> ParseBase256(absl::string_view field) {
  const bool negative = (field[0] & 0x40) != 0;
  const unsigned char invert = negative ? 0xff : 0x00;
  uint64_t value = 0;
  for (size_t i = 0; i < field.size(); ++i) {
    unsigned char byte = static_cast<unsigned char>(field[i]) ^ invert;
    if (i == 0) byte &= 0x7f;
    if ((value >> 56) != 0) return Invalid("a base-256 number does not fit into 64 bits");
    value = value << 8 | byte;
  }
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return Invalid("a base-256 number does not fit into 64 bits");
  }
  return negative ? ~static_cast<int64_t>(value) : static_cast<int64_t>(value);
}

bool ChecksumHolds(absl::string_view block) {
  auto stored = ParseTarNumber(block.substr(148, 8));
  if (!stored.ok()) return false;
  int64_t as_unsigned = 0;
  int64_t as_signed = 0;  // historic writers summed signed chars
  for (size_t i = 0; i < block.size(); ++i) {
    const char c = i >= 148 && i < 156 ? ' ' : block[i];
    as_unsigned += static_cast<unsigned char>(c);
    as_signed += static_cast<signed char>(c);
  }
  return *stored == as_unsigned || *stored == as_signed;
}

TarFormat DetectFormat(absl::string_view block) {
  const absl::string_view magic = block.substr(257, 8);
  if (magic == absl::string_view("ustar  \0", 8)) return TarFormat::kGnu;
  if (magic.substr(0, 6) != absl::string_view("ustar\0", 6)) return TarFormat::kV7;
  if (block.substr(508, 4) == absl::string_view("tar\0", 4)) return TarFormat::kStar;
  return TarFormat::kUstar;
}

// The directory part that ustar keeps apart from the name. GNU's layout has times at that place; writers existed
// (Go before 1.8, and so old images) that put a prefix there all the same: no number begins like a path.
std::string Prefix(const TarHeader& header, absl::string_view block) {
  switch (header.format) {
    case TarFormat::kUstar:
      return Text(block.substr(345, 155));
    case TarFormat::kStar:
      return Text(block.substr(345, 131));
    case TarFormat::kGnu: {
      const auto first = static_cast<unsigned char>(block[345]);
      const bool number = first == 0 || first == ' ' || (first >= '0' && first <= '7') || first >= 0x80;
      return number || header.typeflag == 'S' ? "" : Text(block.substr(345, 155));
    }
    case TarFormat::kV7:
      break;
  }
  return "";
}

absl::Status ParseExtents(absl::string_view fields, size_t count, std::vector<SparseExtent>* extents) {
  for (size_t i = 0; i < count; ++i) {
    const absl::string_view field = fields.substr(i * 24, 24);
    if (field[0] == '\0') break;  // unused places
    SparseExtent extent;
    GANTRY_ASSIGN_OR_RETURN(extent.offset, ParseTarNumber(field.substr(0, 12)));
    GANTRY_ASSIGN_OR_RETURN(extent.length, ParseTarNumber(field.substr(12, 12)));
    if (extents->size() >= kMaxSparseExtents) return Invalid("a sparse file has too many extents");
    extents->push_back(extent);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<int64_t> ParseTarNumber(absl::string_view field) {
  if (!field.empty() && (field[0] & 0x80) != 0) return ParseBase256(field);
  while (!field.empty() && (field.front() == ' ' || field.front() == '\0')) field.remove_prefix(1);
  field = field.substr(0, field.find('\0'));
  while (!field.empty() && field.back() == ' ') field.remove_suffix(1);
  int64_t value = 0;
  for (const char c : field) {
    if (c < '0' || c > '7') return Invalid("invalid header: a numeric field holds no octal number");
    if (value >> 60 != 0) return Invalid("invalid header: an octal number does not fit into 63 bits");
    value = value << 3 | (c - '0');
  }
  return value;
}

absl::StatusOr<TarHeader> ParseTarHeader(absl::string_view block) {
  if (block.size() != kTarBlockBytes) return Invalid("a header has 512 bytes");
  if (!ChecksumHolds(block)) {
    return Invalid("invalid header: its checksum does not match; this is no tar archive or a damaged one");
  }
  TarHeader header;
  header.format = DetectFormat(block);
  header.typeflag = block[156] == '\0' ? '0' : block[156];
  header.name = Text(block.substr(0, 100));
  header.link = Text(block.substr(157, 100));
  GANTRY_ASSIGN_OR_RETURN(header.mode, ParseTarNumber(block.substr(100, 8)));
  GANTRY_ASSIGN_OR_RETURN(header.uid, ParseTarNumber(block.substr(108, 8)));
  GANTRY_ASSIGN_OR_RETURN(header.gid, ParseTarNumber(block.substr(116, 8)));
  GANTRY_ASSIGN_OR_RETURN(header.size, ParseTarNumber(block.substr(124, 12)));
  GANTRY_ASSIGN_OR_RETURN(header.mtime, ParseTarNumber(block.substr(136, 12)));
  if (header.size < 0) return Invalid("invalid header: a negative size");
  if (header.format != TarFormat::kV7 && (header.typeflag == '3' || header.typeflag == '4')) {
    GANTRY_ASSIGN_OR_RETURN(header.dev_major, ParseTarNumber(block.substr(329, 8)));
    GANTRY_ASSIGN_OR_RETURN(header.dev_minor, ParseTarNumber(block.substr(337, 8)));
  }
  if (const std::string prefix = Prefix(header, block); !prefix.empty()) {
    header.name = absl::StrCat(prefix, "/", header.name);
  }
  return header;
}

absl::StatusOr<GnuSparseHead> ParseGnuSparseHead(absl::string_view block) {
  GnuSparseHead head;
  GANTRY_RETURN_IF_ERROR(ParseExtents(block.substr(386, 96), 4, &head.extents));
  head.extended = block[482] != '\0';
  GANTRY_ASSIGN_OR_RETURN(head.real_size, ParseTarNumber(block.substr(483, 12)));
  return head;
}

absl::StatusOr<bool> ParseGnuSparseExtension(absl::string_view block, std::vector<SparseExtent>* extents) {
  GANTRY_RETURN_IF_ERROR(ParseExtents(block, 21, extents));
  return block[504] != '\0';
}

absl::StatusOr<PaxRecords> ParsePaxRecords(absl::string_view body) {
  PaxRecords records;
  while (!body.empty()) {
    const size_t space = body.find(' ');
    uint64_t length = 0;
    // The length counts the whole record: its own digits, the space and the newline.
    if (space == absl::string_view::npos || space == 0 || space > 10 ||
        !absl::SimpleAtoi(body.substr(0, space), &length) || length > body.size() || length < space + 3) {
      return Invalid("a pax record has no valid length");
    }
    absl::string_view record = body.substr(space + 1, length - space - 1);
    body.remove_prefix(length);
    const size_t equals = record.find('=');
    if (record.back() != '\n' || equals == absl::string_view::npos || equals == 0) {
      return Invalid("a pax record is not of the form key=value");
    }
    record.remove_suffix(1);
    const absl::string_view key = record.substr(0, equals);
    if (key.find('\0') != absl::string_view::npos) return Invalid("a pax record's key holds a NUL byte");
    records.emplace_back(key, record.substr(equals + 1));
  }
  return records;
}

absl::StatusOr<int64_t> ParsePaxInteger(absl::string_view text) {
  int64_t value = 0;
  if (!absl::SimpleAtoi(text, &value)) {
    return Invalid(absl::StrCat("\"", text.substr(0, 40), "\" in a pax record is no number"));
  }
  return value;
}

absl::StatusOr<timespec> ParsePaxTime(absl::string_view text) {
  const absl::string_view whole = text;
  const bool negative = absl::ConsumePrefix(&text, "-");
  const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(text, absl::MaxSplits('.', 1));
  int64_t seconds = 0;
  int64_t nanoseconds = 0;
  bool valid = !parts.first.empty() && parts.first[0] != '-' && parts.first[0] != '+' &&
               absl::SimpleAtoi(parts.first, &seconds);
  size_t digits = 0;
  for (const char c : parts.second) {
    if (c < '0' || c > '9') valid = false;
    if (digits < 9 && valid) nanoseconds = nanoseconds * 10 + (c - '0'), ++digits;
  }
  if (!valid) return Invalid(absl::StrCat("\"", whole.substr(0, 40), "\" in a pax record is no time"));
  for (; digits < 9; ++digits) nanoseconds *= 10;
  if (negative) {
    seconds = nanoseconds > 0 ? -seconds - 1 : -seconds;
    nanoseconds = nanoseconds > 0 ? 1'000'000'000 - nanoseconds : 0;
  }
  return timespec{seconds, static_cast<long>(nanoseconds)};
}

absl::StatusOr<std::vector<SparseExtent>> ParseSparseList(absl::string_view text) {
  std::vector<SparseExtent> extents;
  if (text.empty()) return extents;
  bool is_offset = true;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    GANTRY_ASSIGN_OR_RETURN(const int64_t number, ParsePaxInteger(part));
    if (is_offset) {
      if (extents.size() >= kMaxSparseExtents) return Invalid("a sparse file has too many extents");
      extents.push_back({number, 0});
    } else {
      extents.back().length = number;
    }
    is_offset = !is_offset;
  }
  if (!is_offset) return Invalid("a sparse map ends with half a pair");
  return extents;
}

absl::Status CheckSparse(const std::vector<SparseExtent>& extents, int64_t real_size, int64_t data_size) {
  if (real_size < 0) return Invalid("a sparse file has a negative size");
  int64_t end = 0;
  int64_t total = 0;
  for (const SparseExtent& extent : extents) {
    if (extent.offset < end || extent.length < 0 || extent.offset > real_size ||
        extent.length > real_size - extent.offset) {
      return Invalid("a sparse map's extents overlap, run backwards or lie beyond the file's end");
    }
    end = extent.offset + extent.length;
    total += extent.length;  // no overflow: they don't overlap, so it is at most real_size
  }
  if (total != data_size) {
    return Invalid(absl::StrCat("a sparse map names ", total, " bytes of data, the entry has ", data_size));
  }
  return absl::OkStatus();
}

}  // namespace gantry::diff
