#include "snapshotter/diff/tar_reader.h"

#include <algorithm>
#include <limits>
#include <map>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "runtime/sys/status.h"

namespace gantry::diff {
namespace {

constexpr absl::string_view kXattrPrefix = "SCHILY.xattr.";
// Far beyond any image; ends an archive that would only fill memory and the inode table.
constexpr int64_t kMaxEntries = 10'000'000;
// Headers that only announce an entry, before one: a pax header and two long names are usual.
constexpr int kMaxSpecials = 8;

absl::Status Invalid(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("tar: ", what));
}

absl::Status InvalidEntry(absl::string_view name, absl::string_view what) {
  return Invalid(absl::StrCat("entry \"", name.substr(0, 200), "\": ", what));
}

int64_t PaddingOf(int64_t size) { return -size & static_cast<int64_t>(kTarBlockBytes - 1); }

bool IsZero(absl::string_view block) {
  return std::all_of(block.begin(), block.end(), [](char c) { return c == '\0'; });
}

// An id that chown(2) can set: it takes -1, 4294967295, as "leave it".
absl::StatusOr<uint32_t> CheckedId(int64_t id, absl::string_view name) {
  if (id < 0 || id >= std::numeric_limits<uint32_t>::max()) {
    return InvalidEntry(name, absl::StrCat("owner ", id, " is not between 0 and 4294967294"));
  }
  return static_cast<uint32_t>(id);
}

absl::StatusOr<EntryType> TypeOf(const TarHeader& header) {
  switch (header.typeflag) {
    case '0':  // v7 knew no directories but by the slash
      return absl::EndsWith(header.name, "/") && header.size == 0 ? EntryType::kDirectory : EntryType::kFile;
    case '7':  // contiguous file: a plain one to us, as to all others
    case 'S':
      return EntryType::kFile;
    case '1':
      return EntryType::kHardlink;
    case '2':
      return EntryType::kSymlink;
    case '3':
      return EntryType::kCharDevice;
    case '4':
      return EntryType::kBlockDevice;
    case '5':
      return EntryType::kDirectory;
    case '6':
      return EntryType::kFifo;
    default:
      return InvalidEntry(header.name,
                          absl::StrFormat("unhandled type '\\x%02x'; layers hold files, links, devices, "
                                          "directories and fifos",
                                          static_cast<unsigned char>(header.typeflag)));
  }
}

}  // namespace

struct TarReader::Overrides {
  std::map<std::string, std::string> pax;  // the last of duplicates counts
  std::vector<std::pair<std::string, std::string>> xattrs;
  std::vector<SparseExtent> sparse_0_0;
  bool sparse_half = false;  // an offset of format 0.0 waits for its length
  std::optional<std::string> gnu_name;
  std::optional<std::string> gnu_link;

  const std::string* Find(const std::string& key) const {
    const auto it = pax.find(key);
    return it == pax.end() || it->second.empty() ? nullptr : &it->second;
  }
  absl::Status Integer(const std::string& key, int64_t* out) const {
    const std::string* text = Find(key);
    if (text == nullptr) return absl::OkStatus();
    GANTRY_ASSIGN_OR_RETURN(*out, ParsePaxInteger(*text));
    return absl::OkStatus();
  }
  absl::Status Time(const std::string& key, timespec* out) const {
    const std::string* text = Find(key);
    if (text == nullptr) return absl::OkStatus();
    GANTRY_ASSIGN_OR_RETURN(*out, ParsePaxTime(*text));
    return absl::OkStatus();
  }
};

absl::Status TarReader::FinishContent() {
  GANTRY_RETURN_IF_ERROR(input_->Skip(static_cast<uint64_t>(data_left_)));
  data_left_ = 0;
  GANTRY_RETURN_IF_ERROR(input_->Skip(static_cast<uint64_t>(padding_left_)));
  padding_left_ = 0;
  return absl::OkStatus();
}

absl::StatusOr<bool> TarReader::NextHeader(TarHeader* header, std::string* block) {
  GANTRY_ASSIGN_OR_RETURN(absl::string_view bytes, input_->Take(kTarBlockBytes));
  if (bytes.empty()) return false;
  if (IsZero(bytes)) {
    GANTRY_ASSIGN_OR_RETURN(bytes, input_->Take(kTarBlockBytes));
    if (bytes.empty() || IsZero(bytes)) return false;
    return Invalid("invalid header: a single zero block between entries");
  }
  block->assign(bytes.data(), bytes.size());
  GANTRY_ASSIGN_OR_RETURN(*header, ParseTarHeader(*block));
  return true;
}

absl::StatusOr<std::string> TarReader::ReadSpecial(const TarHeader& header) {
  if (static_cast<uint64_t>(header.size) > kMaxSpecialBytes) {
    return Invalid(absl::StrCat("a header of type '", std::string(1, header.typeflag), "' has ", header.size,
                                " bytes; at most ", kMaxSpecialBytes, " are taken"));
  }
  std::string body;
  if (header.size > 0) {
    GANTRY_ASSIGN_OR_RETURN(absl::string_view bytes, input_->Take(static_cast<size_t>(header.size)));
    if (bytes.empty()) return absl::DataLossError("unexpected EOF: the archive ends inside a header");
    body.assign(bytes.data(), bytes.size());
  }
  GANTRY_RETURN_IF_ERROR(input_->Skip(static_cast<uint64_t>(PaddingOf(header.size))));
  return body;
}

absl::Status TarReader::ReadPax(const TarHeader& header, Overrides* overrides) {
  GANTRY_ASSIGN_OR_RETURN(const std::string body, ReadSpecial(header));
  GANTRY_ASSIGN_OR_RETURN(PaxRecords records, ParsePaxRecords(body));
  for (auto& [key, value] : records) {
    if (absl::StartsWith(key, kXattrPrefix)) {
      overrides->xattrs.emplace_back(key.substr(kXattrPrefix.size()), std::move(value));
    } else if (key == "GNU.sparse.offset") {
      if (overrides->sparse_half) return Invalid("a sparse map has an offset without a length");
      GANTRY_ASSIGN_OR_RETURN(const int64_t offset, ParsePaxInteger(value));
      overrides->sparse_0_0.push_back({offset, 0});
      overrides->sparse_half = true;
    } else if (key == "GNU.sparse.numbytes") {
      if (!overrides->sparse_half) return Invalid("a sparse map has a length without an offset");
      GANTRY_ASSIGN_OR_RETURN(overrides->sparse_0_0.back().length, ParsePaxInteger(value));
      overrides->sparse_half = false;
    } else {
      overrides->pax[key] = std::move(value);
    }
  }
  if (overrides->sparse_half) return Invalid("a sparse map has an offset without a length");
  return absl::OkStatus();
}

absl::StatusOr<bool> TarReader::Next(TarEntry* entry) {
  GANTRY_RETURN_IF_ERROR(FinishContent());
  Overrides overrides;
  TarHeader header;
  std::string block;
  int specials = 0;
  bool announced = false;
  for (;;) {
    GANTRY_ASSIGN_OR_RETURN(const bool more, NextHeader(&header, &block));
    if (!more && announced) return Invalid("the archive ends after a header that announces an entry");
    if (!more) return false;
    switch (header.typeflag) {
      case 'x': {
        GANTRY_RETURN_IF_ERROR(ReadPax(header, &overrides));
        break;
      }
      case 'g': {
        GANTRY_ASSIGN_OR_RETURN(const std::string body, ReadSpecial(header));
        GANTRY_RETURN_IF_ERROR(ParsePaxRecords(body).status());
        break;
      }
      case 'L': {
        GANTRY_ASSIGN_OR_RETURN(const std::string body, ReadSpecial(header));
        overrides.gnu_name = body.substr(0, body.find('\0'));
        break;
      }
      case 'K': {
        GANTRY_ASSIGN_OR_RETURN(const std::string body, ReadSpecial(header));
        overrides.gnu_link = body.substr(0, body.find('\0'));
        break;
      }
      default:
        if (++entries_ > kMaxEntries) {
          return absl::ResourceExhaustedError(absl::StrCat("tar: more than ", kMaxEntries, " entries"));
        }
        GANTRY_RETURN_IF_ERROR(BeginEntry(header, block, std::move(overrides), entry));
        return true;
    }
    announced |= header.typeflag != 'g';  // a global header may be the last thing there is
    if (++specials > kMaxSpecials) return Invalid("too many headers before an entry");
  }
}

absl::Status TarReader::BeginEntry(const TarHeader& header, absl::string_view block, Overrides overrides,
                                   TarEntry* entry) {
  *entry = TarEntry();
  entry->name = overrides.gnu_name.value_or(header.name);
  entry->link = overrides.gnu_link.value_or(header.link);
  if (const std::string* path = overrides.Find("path")) entry->name = *path;
  if (const std::string* link = overrides.Find("linkpath")) entry->link = *link;
  if (const std::string* name = overrides.Find("GNU.sparse.name")) entry->name = *name;
  if (entry->name.empty()) return Invalid("an entry without a name");
  if (entry->name.find('\0') != std::string::npos || entry->link.find('\0') != std::string::npos) {
    return InvalidEntry(entry->name, "a NUL byte in its name or link");
  }
  int64_t uid = header.uid, gid = header.gid, size = header.size;
  GANTRY_RETURN_IF_ERROR(overrides.Integer("uid", &uid));
  GANTRY_RETURN_IF_ERROR(overrides.Integer("gid", &gid));
  GANTRY_RETURN_IF_ERROR(overrides.Integer("size", &size));
  if (size < 0) return InvalidEntry(entry->name, "a negative size");
  GANTRY_ASSIGN_OR_RETURN(entry->uid, CheckedId(uid, entry->name));
  GANTRY_ASSIGN_OR_RETURN(entry->gid, CheckedId(gid, entry->name));
  entry->mtime = {header.mtime, 0};
  GANTRY_RETURN_IF_ERROR(overrides.Time("mtime", &entry->mtime));
  GANTRY_RETURN_IF_ERROR(overrides.Time("atime", &entry->atime));
  entry->mode = static_cast<uint32_t>(header.mode) & 07777;
  entry->xattrs = std::move(overrides.xattrs);
  TarHeader named = header;
  named.name = entry->name;
  named.size = size;
  GANTRY_ASSIGN_OR_RETURN(entry->type, TypeOf(named));
  if (entry->type == EntryType::kCharDevice || entry->type == EntryType::kBlockDevice) {
    // Linux's dev_t has 12 and 20 bits.
    if (header.dev_major < 0 || header.dev_major > 0xfff || header.dev_minor < 0 ||
        header.dev_minor > 0xfffff) {
      return InvalidEntry(entry->name, absl::StrCat("device number ", header.dev_major, ":", header.dev_minor,
                                                    " is not one of Linux"));
    }
    entry->dev_major = static_cast<uint32_t>(header.dev_major);
    entry->dev_minor = static_cast<uint32_t>(header.dev_minor);
  }
  if (entry->type == EntryType::kHardlink || entry->type == EntryType::kSymlink) {
    if (entry->link.empty()) return InvalidEntry(entry->name, "a link to nothing");
  }
  return BeginContent(named, block, overrides, size, entry);
}

absl::Status TarReader::BeginContent(const TarHeader& header, absl::string_view block,
                                     const Overrides& overrides, int64_t size, TarEntry* entry) {
  extents_.clear();
  extent_ = 0;
  extent_done_ = 0;
  // Links, devices and directories have no content, whatever their size field says (POSIX, and Go).
  if (entry->type != EntryType::kFile) return absl::OkStatus();
  data_left_ = size;
  padding_left_ = PaddingOf(size);
  entry->size = size;
  int64_t data_size = size;
  if (header.typeflag == 'S') {
    if (header.format != TarFormat::kGnu)
      return InvalidEntry(entry->name, "type 'S' outside of a GNU archive");
    GANTRY_ASSIGN_OR_RETURN(GnuSparseHead head, ParseGnuSparseHead(block));
    for (bool more = head.extended; more;) {
      GANTRY_ASSIGN_OR_RETURN(absl::string_view next, input_->Take(kTarBlockBytes));
      if (next.empty()) return absl::DataLossError("unexpected EOF: the archive ends inside a sparse map");
      GANTRY_ASSIGN_OR_RETURN(more, ParseGnuSparseExtension(next, &head.extents));
    }
    entry->sparse = true;
    entry->size = head.real_size;
    extents_ = std::move(head.extents);
  } else if (overrides.Find("GNU.sparse.major") != nullptr) {
    if (*overrides.Find("GNU.sparse.major") != "1" || overrides.Find("GNU.sparse.minor") == nullptr ||
        *overrides.Find("GNU.sparse.minor") != "0") {
      return InvalidEntry(entry->name, "a sparse format other than 0.0, 0.1 and 1.0");
    }
    entry->sparse = true;
    GANTRY_RETURN_IF_ERROR(overrides.Integer("GNU.sparse.realsize", &entry->size));
    GANTRY_ASSIGN_OR_RETURN(extents_, ReadSparseMap(&data_size));
  } else if (overrides.Find("GNU.sparse.size") != nullptr || overrides.Find("GNU.sparse.map") != nullptr ||
             !overrides.sparse_0_0.empty()) {
    entry->sparse = true;
    GANTRY_RETURN_IF_ERROR(overrides.Integer("GNU.sparse.size", &entry->size));
    extents_ = overrides.sparse_0_0;
    if (const std::string* map = overrides.Find("GNU.sparse.map")) {
      GANTRY_ASSIGN_OR_RETURN(extents_, ParseSparseList(*map));
    }
  }
  if (!entry->sparse) {
    extents_.push_back({0, size});
    return absl::OkStatus();
  }
  if (absl::Status status = CheckSparse(extents_, entry->size, data_size); !status.ok()) {
    return sys::Annotate(status, absl::StrCat("entry \"", entry->name.substr(0, 200), "\""));
  }
  return absl::OkStatus();
}

// Format 1.0: the map is the first blocks of the content, decimal numbers on a line each: count, then offset and
// length of each extent.
absl::StatusOr<std::vector<SparseExtent>> TarReader::ReadSparseMap(int64_t* data_size) {
  std::string text;
  size_t at = 0;
  auto number = [&]() -> absl::StatusOr<int64_t> {
    for (;;) {
      const size_t newline = text.find('\n', at);
      if (newline != std::string::npos) {
        const absl::string_view digits = absl::string_view(text).substr(at, newline - at);
        at = newline + 1;
        return ParsePaxInteger(digits);
      }
      if (text.size() - at > 32) return Invalid("a sparse map holds no number where one must be");
      if (data_left_ < static_cast<int64_t>(kTarBlockBytes)) return Invalid("a sparse map is cut off");
      GANTRY_ASSIGN_OR_RETURN(absl::string_view block, input_->Take(kTarBlockBytes));
      if (block.empty()) return absl::DataLossError("unexpected EOF: the archive ends inside a sparse map");
      text.append(block.data(), block.size());
      data_left_ -= kTarBlockBytes;
    }
  };
  GANTRY_ASSIGN_OR_RETURN(const int64_t count, number());
  if (count < 0 || count > static_cast<int64_t>(kMaxSparseExtents)) {
    return Invalid(
        absl::StrCat("a sparse map of ", count, " extents; at most ", kMaxSparseExtents, " are taken"));
  }
  std::vector<SparseExtent> extents;
  for (int64_t i = 0; i < count; ++i) {
    GANTRY_ASSIGN_OR_RETURN(const int64_t offset, number());
    GANTRY_ASSIGN_OR_RETURN(const int64_t length, number());
    extents.push_back({offset, length});
  }
  *data_size = data_left_;
  return extents;
}

absl::StatusOr<TarReader::Piece> TarReader::ReadPiece() {
  while (extent_ < extents_.size() && extent_done_ == extents_[extent_].length) {
    ++extent_;
    extent_done_ = 0;
  }
  if (extent_ == extents_.size()) return Piece();
  const SparseExtent& extent = extents_[extent_];
  const int64_t want = std::min<int64_t>(extent.length - extent_done_, 1 << 30);
  GANTRY_ASSIGN_OR_RETURN(absl::string_view bytes, input_->TakeSome(static_cast<size_t>(want)));
  if (bytes.empty()) return absl::DataLossError("unexpected EOF: the archive ends inside a file");
  const Piece piece = {extent.offset + extent_done_, bytes};
  extent_done_ += static_cast<int64_t>(bytes.size());
  data_left_ -= static_cast<int64_t>(bytes.size());
  return piece;
}

}  // namespace gantry::diff
