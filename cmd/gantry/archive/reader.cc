#include "cmd/gantry/archive/reader.h"

#include <archive.h>
#include <archive_entry.h>
#include <sys/stat.h>

#include <cerrno>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "runtime/sys/status.h"

namespace gantry::cli {
namespace {

constexpr size_t kBlockBytes = 256 << 10;

std::string Normalised(const char* path) {
  absl::string_view view = path == nullptr ? "" : path;
  while (absl::ConsumePrefix(&view, "./") || absl::ConsumePrefix(&view, "/")) {
  }
  while (absl::ConsumeSuffix(&view, "/")) {
  }
  return std::string(view);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ArchiveReader>> ArchiveReader::Open(const std::string& path) {
  const bool standard_input = path == "-";
  const std::string name = standard_input ? "standard input" : path;
  struct stat st {};
  if (!standard_input) {
    if (::stat(path.c_str(), &st) != 0) return sys::ErrnoStatus("open", path);
    if (S_ISDIR(st.st_mode)) {
      return absl::InvalidArgumentError(absl::StrCat(
          path, " is a directory, and an archive is a file (tar -C ", path, " -cf image.tar . makes one)"));
    }
  }
  struct archive* archive = archive_read_new();
  absl::Cleanup free_archive = [archive] { archive_read_free(archive); };
  archive_read_support_filter_gzip(archive);
  archive_read_support_filter_zstd(archive);
  archive_read_support_format_tar(archive);
  const int opened = standard_input ? archive_read_open_fd(archive, 0, kBlockBytes)
                                    : archive_read_open_filename(archive, path.c_str(), kBlockBytes);
  if (opened != ARCHIVE_OK) {
    const int error = archive_errno(archive);
    if (error > 0 && error != EINVAL && error != EILSEQ) return sys::ErrnoStatus("open", name, error);
    return absl::InvalidArgumentError(absl::StrCat(name, " is no tar archive (plain, gzip or zstd)"));
  }
  std::move(free_archive).Cancel();
  return std::unique_ptr<ArchiveReader>(new ArchiveReader(archive, name));
}

ArchiveReader::~ArchiveReader() { archive_read_free(archive_); }

absl::Status ArchiveReader::Damaged() const {
  const char* reason = archive_error_string(archive_);
  if (reason != nullptr && absl::StrContains(reason, "Unrecognized archive format")) {
    return absl::InvalidArgumentError(absl::StrCat(name_, " is no tar archive (plain, gzip or zstd)"));
  }
  return absl::DataLossError(
      absl::StrCat(name_, " is damaged or cut short: ", reason == nullptr ? "unreadable" : reason));
}

absl::StatusOr<bool> ArchiveReader::Next(Member* member) {
  archive_entry* entry = nullptr;
  const int result = archive_read_next_header(archive_, &entry);
  if (result == ARCHIVE_EOF) return false;
  if (result != ARCHIVE_OK && result != ARCHIVE_WARN) return Damaged();
  member->path = Normalised(archive_entry_pathname(entry));
  const char* hardlink = archive_entry_hardlink(entry);
  const char* symlink = archive_entry_symlink(entry);
  member->regular = archive_entry_filetype(entry) == AE_IFREG && hardlink == nullptr;
  member->link_target = hardlink != nullptr ? hardlink : symlink != nullptr ? symlink : "";
  member->size_bytes = member->regular ? static_cast<uint64_t>(archive_entry_size(entry)) : 0;
  return true;
}

absl::StatusOr<size_t> ArchiveReader::Read(char* data, size_t size) {
  const la_ssize_t got = archive_read_data(archive_, data, size);
  if (got < 0) return Damaged();
  return static_cast<size_t>(got);
}

absl::StatusOr<std::string> ArchiveReader::ReadWhole(size_t limit_bytes) {
  std::string out;
  char block[16 << 10];
  while (true) {
    GANTRY_ASSIGN_OR_RETURN(const size_t got, Read(block, sizeof(block)));
    if (got == 0) return out;
    if (out.size() + got > limit_bytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat(name_, ": a JSON document in it is larger than ", limit_bytes, " bytes"));
    }
    out.append(block, got);
  }
}

}  // namespace gantry::cli
