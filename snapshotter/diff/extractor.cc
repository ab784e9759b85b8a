#include "snapshotter/diff/extractor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::diff {
namespace {

// OCI image-spec, layer.md; the rest of ".wh..wh." is bookkeeping of aufs that old archives hold.
constexpr absl::string_view kWhiteoutPrefix = ".wh.";
constexpr absl::string_view kOpaqueMarker = ".wh..wh..opq";
constexpr absl::string_view kWhiteoutMeta = ".wh..wh.";

constexpr absl::string_view kDefaultAcl = "system.posix_acl_default";
// Each costs memory until the end; no image has a tenth of it.
constexpr size_t kMaxDirectories = 1'000'000;

mode_t TypeBits(EntryType type) {
  switch (type) {
    case EntryType::kCharDevice:
      return S_IFCHR;
    case EntryType::kBlockDevice:
      return S_IFBLK;
    case EntryType::kFifo:
      return S_IFIFO;
    default:
      return 0;
  }
}

// containerd shows an access time that is not before the modification, so a missing one counts as that.
void TimesOf(const TarEntry& entry, timespec times[2]) {
  const bool later = entry.atime.tv_sec > entry.mtime.tv_sec ||
                     (entry.atime.tv_sec == entry.mtime.tv_sec && entry.atime.tv_nsec > entry.mtime.tv_nsec);
  times[0] = later ? entry.atime : entry.mtime;
  times[1] = entry.mtime;
}

}  // namespace

Extractor::Extractor(Target* target) : target_(target), root_ids_(::geteuid() == 0 && ::getegid() == 0) {}

template <typename Make>
absl::Status Extractor::MakeAnew(const char* call, const Place& place, Make make, bool* hid_lower) {
  if (make() == 0) return absl::OkStatus();
  if (errno == EEXIST) {
    bool unused = false;
    GANTRY_RETURN_IF_ERROR(target_->MakeRoom(place.parent, place.name, hid_lower ? hid_lower : &unused));
    if (make() == 0) return absl::OkStatus();
  }
  return sys::ErrnoStatus(call, place.name);
}

absl::Status Extractor::Add(const TarEntry& entry, TarReader* reader) {
  const std::string path = CleanPath(entry.name);
  if (path.empty()) return absl::OkStatus();
  absl::Status status = AddAt(path, entry, reader);
  if (status.ok()) return status;
  return sys::Annotate(status, absl::StrCat("layer entry \"", entry.name.substr(0, 200), "\""));
}

absl::Status Extractor::AddAt(const std::string& path, const TarEntry& entry, TarReader* reader) {
  const auto [directory, base] = SplitPath(path);
  if (base != kOpaqueMarker && absl::StartsWith(base, kWhiteoutMeta)) return absl::OkStatus();
  Place place;
  GANTRY_ASSIGN_OR_RETURN(place.parent, target_->Find(directory, Target::Missing::kMake));
  place.name = std::string(base);
  if (base == kOpaqueMarker) return target_->HideContent(*place.parent);
  if (absl::StartsWith(base, kWhiteoutPrefix)) {
    const std::string hidden(base.substr(kWhiteoutPrefix.size()));
    if (hidden.empty() || hidden == "." || hidden == "..") {
      return absl::InvalidArgumentError("tar: invalid whiteout: it names no file of its own directory");
    }
    return target_->HideName(place.parent, hidden);
  }
  switch (entry.type) {
    case EntryType::kFile:
      GANTRY_RETURN_IF_ERROR(AddFile(place, entry, reader));
      break;
    case EntryType::kDirectory:
      GANTRY_RETURN_IF_ERROR(AddDirectory(path, place, entry));
      break;
    case EntryType::kHardlink:
      GANTRY_RETURN_IF_ERROR(AddHardlink(place, entry));
      break;
    default:
      GANTRY_RETURN_IF_ERROR(AddOther(place, entry));
  }
  target_->NoteOwn(*place.parent, place.name);
  return absl::OkStatus();
}

absl::Status Extractor::SetMetadata(int fd, const TarEntry& entry, mode_t made_mode, bool inherited_group) {
  const bool is_root = entry.uid == 0 && entry.gid == 0;
  if ((!is_root || inherited_group || !root_ids_) &&
      ::fchownat(fd, "", entry.uid, entry.gid, AT_EMPTY_PATH) != 0) {
    return sys::ErrnoStatus("fchownat", absl::StrCat(entry.uid, ":", entry.gid));
  }
  // After the owner: changing that clears the setuid bits.
  const mode_t have = made_mode & ~target_->umask() & 0777;
  if (entry.type != EntryType::kSymlink && (entry.mode != have || inherited_group)) {
    if (::chmod(ProcPath(fd).c_str(), entry.mode) != 0) return sys::ErrnoStatus("chmod", entry.name);
  }
  return absl::OkStatus();
}

absl::Status Extractor::WriteContent(int fd, const TarEntry& entry, TarReader* reader) {
  int64_t end = 0;
  for (;;) {
    GANTRY_ASSIGN_OR_RETURN(TarReader::Piece piece, reader->ReadPiece());
    if (piece.bytes.empty()) break;
    while (!piece.bytes.empty()) {
      const ssize_t put = ::pwrite(fd, piece.bytes.data(), piece.bytes.size(), piece.offset);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return sys::ErrnoStatus("pwrite", "content");
      piece.bytes.remove_prefix(static_cast<size_t>(put));
      piece.offset += put;
    }
    end = piece.offset;
  }
  if (end < entry.size && ::ftruncate(fd, entry.size) != 0) return sys::ErrnoStatus("ftruncate", "content");
  return absl::OkStatus();
}

absl::Status Extractor::AddFile(const Place& place, const TarEntry& entry, TarReader* reader) {
  const mode_t mode = entry.mode & 0777;
  sys::UniqueFd file;
  GANTRY_RETURN_IF_ERROR(MakeAnew("openat", place, [&] {
    file.reset(::openat(place.parent->fd.get(), place.name.c_str(),
                        O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
    return file.valid() ? 0 : -1;
  }));
  GANTRY_RETURN_IF_ERROR(WriteContent(file.get(), entry, reader));
  GANTRY_RETURN_IF_ERROR(SetMetadata(file.get(), entry, mode, place.parent->setgid));
  GANTRY_RETURN_IF_ERROR(SetXattrs(file.get(), entry.xattrs));
  timespec times[2];
  TimesOf(entry, times);
  if (::futimens(file.get(), times) != 0) return sys::ErrnoStatus("futimens", place.name);
  return absl::OkStatus();
}

absl::Status Extractor::AddDirectory(const std::string& path, const Place& place, const TarEntry& entry) {
  const mode_t mode = entry.mode & 0777;
  const int parent = place.parent->fd.get();
  bool merged = false;
  bool hid_lower = false;
  GANTRY_RETURN_IF_ERROR(MakeAnew(
      "mkdirat", place,
      [&] {
        if (::mkdirat(parent, place.name.c_str(), mode) == 0) return 0;
        struct stat st;
        merged = errno == EEXIST && ::fstatat(parent, place.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                 S_ISDIR(st.st_mode);
        if (!merged) errno = EEXIST;
        return merged ? 0 : -1;
      },
      &hid_lower));
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd fd,
                          sys::OpenAt(parent, place.name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
  if (hid_lower && target_->overlay()) GANTRY_RETURN_IF_ERROR(target_->MarkOpaque(fd.get()));
  if (merged) {
    GANTRY_RETURN_IF_ERROR(ClearXattrs(fd.get()));
    if (::fchown(fd.get(), entry.uid, entry.gid) != 0) return sys::ErrnoStatus("fchown", place.name);
    if (::fchmod(fd.get(), entry.mode) != 0) return sys::ErrnoStatus("fchmod", place.name);
  } else {
    GANTRY_RETURN_IF_ERROR(SetMetadata(fd.get(), entry, mode, place.parent->setgid));
  }
  DirectoryEnd end;
  end.path = path;
  TimesOf(entry, end.times);
  Xattrs now;
  for (const auto& xattr : entry.xattrs) (xattr.first == kDefaultAcl ? end.acl : now).push_back(xattr);
  GANTRY_RETURN_IF_ERROR(SetXattrs(fd.get(), now));
  if ((entry.mode & S_ISGID) != 0) target_->ForgetDirectories();  // one may be known without that bit
  GANTRY_RETURN_IF_ERROR(target_->Adopt(place.parent, place.name, std::move(fd)).status());
  const auto [known, added] = directory_index_.try_emplace(path, directory_ends_.size());
  if (!added) {
    directory_ends_[known->second] = std::move(end);
    return absl::OkStatus();
  }
  if (directory_ends_.size() >= kMaxDirectories) {
    return absl::ResourceExhaustedError(absl::StrCat("tar: more than ", kMaxDirectories, " directories"));
  }
  directory_ends_.push_back(std::move(end));
  return absl::OkStatus();
}

absl::Status Extractor::AddOther(const Place& place, const TarEntry& entry) {
  const int parent = place.parent->fd.get();
  const char* name = place.name.c_str();
  const mode_t mode = entry.mode & 0777;
  if (entry.type == EntryType::kSymlink) {
    GANTRY_RETURN_IF_ERROR(
        MakeAnew("symlinkat", place, [&] { return ::symlinkat(entry.link.c_str(), parent, name); }));
  } else {
    const dev_t device = makedev(entry.dev_major, entry.dev_minor);
    GANTRY_RETURN_IF_ERROR(MakeAnew(
        "mknodat", place, [&] { return ::mknodat(parent, name, TypeBits(entry.type) | mode, device); }));
  }
  // Through a descriptor: by its name, a chmod could be led astray (CVE-2021-32760).
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::OpenAt(parent, place.name, O_PATH | O_NOFOLLOW));
  GANTRY_RETURN_IF_ERROR(SetMetadata(fd.get(), entry, mode, place.parent->setgid));
  GANTRY_RETURN_IF_ERROR(SetXattrs(fd.get(), entry.xattrs));
  timespec times[2];
  TimesOf(entry, times);
  if (::utimensat(fd.get(), "", times, AT_EMPTY_PATH) != 0) return sys::ErrnoStatus("utimensat", place.name);
  return absl::OkStatus();
}

absl::StatusOr<Extractor::Place> Extractor::FindLinkTarget(const TarEntry& entry) {
  const std::string path = CleanPath(entry.link);
  const auto [directory, base] = SplitPath(path);
  for (const bool copied_up : {false, true}) {
    auto parent = target_->Find(directory, Target::Missing::kFail);
    const std::string lower_path =
        parent.ok() && !(*parent)->path.empty() ? absl::StrCat((*parent)->path, "/", base) : path;
    struct stat st;
    if (parent.ok() &&
        ::fstatat((*parent)->fd.get(), std::string(base).c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) {
      if (!target_->overlay() || !IsWhiteout(st)) return Place{*std::move(parent), std::string(base)};
      break;
    }
    if (!copied_up && !base.empty()) GANTRY_RETURN_IF_ERROR(CopyUp(lower_path));
  }
  return absl::NotFoundError(absl::StrCat("hard link to \"", entry.link.substr(0, 200),
                                          "\", which neither this layer nor those below it have"));
}

absl::Status Extractor::AddHardlink(const Place& place, const TarEntry& entry) {
  GANTRY_ASSIGN_OR_RETURN(const Place from, FindLinkTarget(entry));
  if (from.parent->inode == place.parent->inode && from.name == place.name) return absl::OkStatus();
  return MakeAnew("linkat", place, [&] {
    return ::linkat(from.parent->fd.get(), from.name.c_str(), place.parent->fd.get(), place.name.c_str(), 0);
  });
}

// A hard link into a lower layer: overlayfs cannot link across layers, so the file is brought up first, as the
// kernel does when someone links it in a mounted overlay. Nothing to copy is no error here.
absl::Status Extractor::CopyUp(const std::string& path) {
  std::unique_ptr<MergedDir> holder;
  GANTRY_ASSIGN_OR_RETURN(std::optional<MergedDir::Node> lower, target_->LookupLower(path, &holder));
  if (!lower || S_ISDIR(lower->st.st_mode)) return absl::OkStatus();
  const auto [directory, base] = SplitPath(path);
  Place place;
  GANTRY_ASSIGN_OR_RETURN(place.parent, target_->Find(directory, Target::Missing::kMake));
  place.name = std::string(base);
  const int parent = place.parent->fd.get();
  const struct stat& st = lower->st;
  sys::UniqueFd from, to;
  if (S_ISREG(st.st_mode)) {
    GANTRY_ASSIGN_OR_RETURN(from, sys::OpenAt(lower->layer_fd, lower->name, O_RDONLY | O_NOFOLLOW));
    GANTRY_ASSIGN_OR_RETURN(to,
                            sys::OpenAt(parent, place.name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
    GANTRY_RETURN_IF_ERROR(CopyContent(from.get(), to.get(), st.st_size));
  } else {
    if (S_ISLNK(st.st_mode)) {
      char link[PATH_MAX + 1] = {};
      if (::readlinkat(lower->layer_fd, lower->name.c_str(), link, PATH_MAX) < 0 ||
          ::symlinkat(link, parent, place.name.c_str()) != 0) {
        return sys::ErrnoStatus("symlinkat", path);
      }
    } else if (::mknodat(parent, place.name.c_str(), st.st_mode, st.st_rdev) != 0) {
      return sys::ErrnoStatus("mknodat", path);
    }
    GANTRY_ASSIGN_OR_RETURN(from, sys::OpenAt(lower->layer_fd, lower->name, O_PATH | O_NOFOLLOW));
    GANTRY_ASSIGN_OR_RETURN(to, sys::OpenAt(parent, place.name, O_PATH | O_NOFOLLOW));
  }
  target_->NoteOwn(*place.parent, place.name);
  return CopyAttributes(from.get(), st, to.get());
}

absl::Status Extractor::FinishDirectory(const DirectoryEnd& end) {
  const auto [directory, base] = SplitPath(end.path);
  auto parent = target_->Find(directory, Target::Missing::kFail);
  // Entries after it may have replaced or removed it.
  if (!parent.ok()) return absl::OkStatus();
  const int fd = (*parent)->fd.get();
  const std::string name(base);
  struct stat st;
  if (::fstatat(fd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode))
    return absl::OkStatus();
  if (!end.acl.empty()) {
    GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd self, sys::OpenAt(fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW));
    GANTRY_RETURN_IF_ERROR(SetXattrs(self.get(), end.acl));
  }
  if (::utimensat(fd, name.c_str(), end.times, AT_SYMLINK_NOFOLLOW) != 0) {
    return sys::ErrnoStatus("utimensat", end.path);
  }
  return absl::OkStatus();
}

absl::Status Extractor::Finish() {
  for (const DirectoryEnd& end : directory_ends_) GANTRY_RETURN_IF_ERROR(FinishDirectory(end));
  return absl::OkStatus();
}

}  // namespace gantry::diff
