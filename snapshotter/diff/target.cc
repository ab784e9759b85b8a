#include "snapshotter/diff/target.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"
#include "snapshotter/diff/attributes.h"

namespace gantry::diff {
namespace {

constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
constexpr size_t kRecentDirectories = 8;
constexpr int kMaxSymlinks = 40;  // the kernel's own limit (path_resolution(7))
constexpr int kMaxDepth = 4096;   // PATH_MAX: no name from an archive goes deeper

struct DirCloser {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

// Calls visit(name) for each entry of the directory.
template <typename Visit>
absl::Status ForEachName(int fd, Visit visit) {
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd own, sys::OpenAt(fd, ".", kOpenDirectory));
  std::unique_ptr<DIR, DirCloser> dir(::fdopendir(own.get()));
  if (dir == nullptr) return sys::ErrnoStatus("fdopendir", "layer");
  (void)own.release();  // closedir closes it
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(dir.get());
    if (entry == nullptr) return errno == 0 ? absl::OkStatus() : sys::ErrnoStatus("readdir", "layer");
    const std::string name = entry->d_name;
    if (name != "." && name != "..") GANTRY_RETURN_IF_ERROR(visit(name));
  }
}

std::string Join(absl::string_view path, absl::string_view name) {
  return path.empty() ? std::string(name) : absl::StrCat(path, "/", name);
}

// umask(2) can only be read by changing it, for all threads at once; procfs tells it.
mode_t ReadUmask() {
  auto status = sys::ReadFileAt(AT_FDCWD, "/proc/self/status", 64 << 10);
  if (!status.ok()) return 0777;  // the cautious answer: modes are then always set explicitly
  for (absl::string_view line : absl::StrSplit(*status, '\n')) {
    if (!absl::ConsumePrefix(&line, "Umask:\t")) continue;
    mode_t mask = 0;
    for (const char c : line) mask = mask << 3 | static_cast<mode_t>(c - '0');
    return mask;
  }
  return 0777;
}

absl::StatusOr<std::shared_ptr<Target::Directory>> Describe(std::string path, sys::UniqueFd fd) {
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) return sys::ErrnoStatus("fstat", path);
  auto directory = std::make_shared<Target::Directory>();
  directory->path = std::move(path);
  directory->fd = std::move(fd);
  directory->inode = st.st_ino;
  directory->setgid = (st.st_mode & S_ISGID) != 0;
  return directory;
}

}  // namespace

std::string CleanPath(absl::string_view name) {
  std::vector<absl::string_view> parts;
  for (const absl::string_view part : absl::StrSplit(name, '/', absl::SkipEmpty())) {
    if (part == ".") continue;
    if (part != "..") {
      parts.push_back(part);
    } else if (!parts.empty()) {
      parts.pop_back();
    }
  }
  return absl::StrJoin(parts, "/");
}

std::pair<absl::string_view, absl::string_view> SplitPath(absl::string_view clean) {
  const size_t slash = clean.rfind('/');
  if (slash == absl::string_view::npos) return {absl::string_view(), clean};
  return {clean.substr(0, slash), clean.substr(slash + 1)};
}

absl::StatusOr<std::unique_ptr<Target>> Target::Open(TargetOptions options) {
  std::unique_ptr<Target> target(new Target(std::move(options)));
  const std::string& path = target->options_.directory;
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::OpenAt(AT_FDCWD, path, O_RDONLY | O_DIRECTORY));
  GANTRY_ASSIGN_OR_RETURN(target->root_, Describe("", std::move(fd)));
  target->umask_ = ReadUmask();
  GANTRY_RETURN_IF_ERROR(ForEachName(target->root_fd(), [&target](const std::string&) {
    target->track_own_ = true;
    return absl::OkStatus();
  }));
  return target;
}

void Target::NoteOwn(const Directory& parent, const std::string& name) {
  if (track_own_) own_.emplace(parent.inode, name);
}

bool Target::IsOwn(const Directory& parent, const std::string& name) const {
  return !track_own_ || own_.contains(std::make_pair(parent.inode, name));
}

void Target::Remember(absl::string_view path, DirectoryPtr directory) {
  if (recent_.size() == kRecentDirectories) recent_.erase(recent_.begin());
  recent_.emplace_back(std::string(path), std::move(directory));
}

absl::StatusOr<Target::DirectoryPtr> Target::Adopt(const DirectoryPtr& parent, absl::string_view name,
                                                   sys::UniqueFd fd) {
  std::string path = Join(parent->path, name);
  GANTRY_ASSIGN_OR_RETURN(DirectoryPtr directory, Describe(path, std::move(fd)));
  for (auto& [known, unused] : recent_) {
    if (known == path) known.clear();  // "" is never looked up: it is the root
  }
  Remember(path, directory);
  return directory;
}

absl::StatusOr<Target::DirectoryPtr> Target::Find(absl::string_view path, Missing missing) {
  if (path.empty()) return root_;
  for (auto it = recent_.rbegin(); it != recent_.rend(); ++it) {
    if (it->first != path) continue;
    DirectoryPtr found = it->second;
    if (it != recent_.rbegin()) std::swap(*it, recent_.back());
    return found;
  }
  GANTRY_ASSIGN_OR_RETURN(DirectoryPtr found, Walk(path, missing));
  Remember(path, found);
  return found;
}

absl::StatusOr<Target::DirectoryPtr> Target::OpenChild(const Directory& parent, const std::string& name) {
  open_how how = {};
  how.flags = kOpenDirectory | O_CLOEXEC;
  // One component, which is neither followed nor a mount point; RESOLVE_BENEATH makes "..", should one get
  // here, an error rather than a way out.
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;
  long fd;
  do {
    fd = ::syscall(SYS_openat2, parent.fd.get(), name.c_str(), &how, sizeof how);
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  if (fd < 0) return sys::ErrnoStatus("openat2", Join(parent.path, name));
  GANTRY_ASSIGN_OR_RETURN(DirectoryPtr child,
                          Describe(Join(parent.path, name), sys::UniqueFd(static_cast<int>(fd))));
  return child;
}

// Component by component, with a stack of our own for "..": the result's path is free of symlinks, and a missing
// directory is made exactly where the walk stands.
absl::StatusOr<Target::DirectoryPtr> Target::Walk(absl::string_view path, Missing missing) {
  std::deque<std::string> todo = absl::StrSplit(path, '/', absl::SkipEmpty());
  std::vector<DirectoryPtr> stack = {root_};
  int symlinks = 0;
  while (!todo.empty()) {
    const std::string name = std::move(todo.front());
    todo.pop_front();
    if (name == ".") continue;
    if (name == "..") {
      if (stack.size() > 1) stack.pop_back();
      continue;
    }
    if (stack.size() > kMaxDepth) return sys::ErrnoStatus("openat2", path.substr(0, 200), ENAMETOOLONG);
    absl::StatusOr<DirectoryPtr> child = OpenChild(*stack.back(), name);
    const int error = child.ok() ? 0 : sys::ErrnoOf(child.status());
    if (error == ENOENT && missing == Missing::kMake) {
      child = MakeChild(stack, name, /*opaque=*/false);
    } else if (error == ENOTDIR || error == ELOOP) {
      char link[PATH_MAX];
      const ssize_t size = ::readlinkat(stack.back()->fd.get(), name.c_str(), link, sizeof link);
      if (size > 0) {
        if (++symlinks > kMaxSymlinks) return sys::ErrnoStatus("openat2", path.substr(0, 200), ELOOP);
        if (link[0] == '/') stack.resize(1);
        const std::vector<std::string> parts =
            absl::StrSplit(absl::string_view(link, static_cast<size_t>(size)), '/', absl::SkipEmpty());
        todo.insert(todo.begin(), parts.begin(), parts.end());
        continue;
      }
      child = ReplaceByDirectory(stack, name, missing);
    }
    if (!child.ok()) return child.status();
    stack.push_back(*std::move(child));
  }
  return stack.back();
}

// Something that is no directory stands where one is needed.
absl::StatusOr<Target::DirectoryPtr> Target::ReplaceByDirectory(const std::vector<DirectoryPtr>& stack,
                                                                const std::string& name, Missing missing) {
  const Directory& parent = *stack.back();
  struct stat st;
  if (::fstatat(parent.fd.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    return sys::ErrnoStatus("fstatat", Join(parent.path, name));
  }
  const bool whiteout = options_.overlay && IsWhiteout(st);
  if (missing == Missing::kFail && whiteout) {
    return sys::ErrnoStatus("openat2", Join(parent.path, name), ENOENT);
  }
  if (missing == Missing::kFail || (!whiteout && IsOwn(parent, name))) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", Join(parent.path, name), "\" is used as a directory but is none"));
  }
  if (::unlinkat(parent.fd.get(), name.c_str(), 0) != 0) {
    return sys::ErrnoStatus("unlinkat", Join(parent.path, name));
  }
  return MakeChild(stack, name, /*opaque=*/options_.overlay);
}

absl::StatusOr<Target::DirectoryPtr> Target::MakeChild(const std::vector<DirectoryPtr>& stack,
                                                       const std::string& name, bool opaque) {
  const Directory& parent = *stack.back();
  if (::mkdirat(parent.fd.get(), name.c_str(), 0755) != 0) {
    return sys::ErrnoStatus("mkdirat", Join(parent.path, name));
  }
  GANTRY_ASSIGN_OR_RETURN(DirectoryPtr made, OpenChild(parent, name));
  NoteOwn(parent, name);
  if (((umask_ & 0755) != 0 || parent.setgid) && ::fchmod(made->fd.get(), 0755) != 0) {
    return sys::ErrnoStatus("fchmod", made->path);
  }
  if (parent.setgid && ::fchown(made->fd.get(), 0, 0) != 0) return sys::ErrnoStatus("fchown", made->path);
  if (opaque) {
    GANTRY_RETURN_IF_ERROR(MarkOpaque(made->fd.get()));
  } else if (!options_.lowers.empty()) {
    GANTRY_RETURN_IF_ERROR(CopyLowerAttributes(stack, *made));
  } else if (!parent.setgid) {
    return made;
  }
  return OpenChild(parent, name);  // looks at its mode anew
}

absl::Status Target::CopyLowerAttributes(const std::vector<DirectoryPtr>& stack, const Directory& made) {
  char value;
  for (const DirectoryPtr& above : stack) {
    const bool hidden =
        ::fgetxattr(above->fd.get(), OpaqueXattr(options_.xattrs).c_str(), &value, 1) == 1 && value == 'y';
    if (hidden) return absl::OkStatus();
  }
  std::unique_ptr<MergedDir> holder;
  GANTRY_ASSIGN_OR_RETURN(std::optional<MergedDir::Node> lower, LookupLower(made.path, &holder));
  if (!lower || !S_ISDIR(lower->st.st_mode)) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd from, sys::OpenAt(lower->layer_fd, lower->name, kOpenDirectory));
  return CopyAttributes(from.get(), lower->st, made.fd.get());
}

absl::StatusOr<std::optional<MergedDir::Node>> Target::LookupLower(absl::string_view path,
                                                                   std::unique_ptr<MergedDir>* holder) {
  if (options_.lowers.empty()) return std::optional<MergedDir::Node>();
  if (!lowers_) {
    GANTRY_ASSIGN_OR_RETURN(lowers_, MergedDir::Open(options_.lowers, options_.xattrs));
  }
  return lowers_->LookupPath(path, holder);
}

absl::Status Target::MakeRoom(const DirectoryPtr& parent, const std::string& name, bool* hid_lower) {
  struct stat st;
  if (::fstatat(parent->fd.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno == ENOENT ? absl::OkStatus() : sys::ErrnoStatus("fstatat", Join(parent->path, name));
  }
  *hid_lower = !S_ISDIR(st.st_mode);
  if (S_ISDIR(st.st_mode) || S_ISLNK(st.st_mode)) ForgetDirectories();
  return sys::RemoveAllAt(parent->fd.get(), name);
}

absl::Status Target::HideName(const DirectoryPtr& parent, const std::string& name) {
  struct stat st;
  const bool exists = ::fstatat(parent->fd.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
  if (!exists && errno != ENOENT) return sys::ErrnoStatus("fstatat", Join(parent->path, name));
  if (exists && IsOwn(*parent, name)) {  // it stays, but alone
    if (!S_ISDIR(st.st_mode)) return absl::OkStatus();
    GANTRY_ASSIGN_OR_RETURN(DirectoryPtr own, OpenChild(*parent, name));
    return HideContent(*own);
  }
  if (exists && !options_.overlay && S_ISDIR(st.st_mode)) {
    // Parts of it may be this layer's: those stay, and so does it if there are any.
    GANTRY_ASSIGN_OR_RETURN(DirectoryPtr lower, OpenChild(*parent, name));
    GANTRY_RETURN_IF_ERROR(RemoveNotOwn(*lower));
    ForgetDirectories();
    if (::unlinkat(parent->fd.get(), name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOTEMPTY) {
      return sys::ErrnoStatus("rmdir", Join(parent->path, name));
    }
    return absl::OkStatus();
  }
  bool unused;
  if (exists) GANTRY_RETURN_IF_ERROR(MakeRoom(parent, name, &unused));
  if (!options_.overlay) return absl::OkStatus();
  // A whiteout in a directory that merges with nothing would show up as a broken entry: none where there is
  // nothing to hide.
  std::unique_ptr<MergedDir> holder;
  if (!options_.lowers.empty()) {
    GANTRY_ASSIGN_OR_RETURN(auto lower, LookupLower(Join(parent->path, name), &holder));
    if (!lower) return absl::OkStatus();
  }
  if (::mknodat(parent->fd.get(), name.c_str(), S_IFCHR, 0) != 0) {
    return sys::ErrnoStatus("mknodat", Join(parent->path, name));
  }
  return absl::OkStatus();
}

absl::Status Target::MarkOpaque(int directory_fd) {
  if (::fsetxattr(directory_fd, OpaqueXattr(options_.xattrs).c_str(), "y", 1, 0) != 0) {
    return sys::ErrnoStatus("fsetxattr", OpaqueXattr(options_.xattrs));
  }
  return absl::OkStatus();
}

absl::Status Target::HideContent(const Directory& directory) {
  if (!options_.overlay) return RemoveNotOwn(directory);
  GANTRY_RETURN_IF_ERROR(MarkOpaque(directory.fd.get()));
  GANTRY_RETURN_IF_ERROR(RemoveWhiteouts(directory.fd.get()));
  // An active snapshot may have had content before this layer: that goes too.
  return track_own_ ? RemoveNotOwn(directory) : absl::OkStatus();
}

// Below an opaque directory there is nothing left to hide (see HideName).
absl::Status Target::RemoveWhiteouts(int directory_fd) {
  return ForEachName(directory_fd, [this, directory_fd](const std::string& name) {
    struct stat st;
    if (::fstatat(directory_fd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      return sys::ErrnoStatus("fstatat", name);
    }
    if (S_ISDIR(st.st_mode)) {
      GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd child, sys::OpenAt(directory_fd, name, kOpenDirectory));
      return RemoveWhiteouts(child.get());
    }
    if (IsWhiteout(st) && ::unlinkat(directory_fd, name.c_str(), 0) != 0) {
      return sys::ErrnoStatus("unlinkat", name);
    }
    return absl::OkStatus();
  });
}

absl::Status Target::RemoveNotOwn(const Directory& directory) {
  return ForEachName(directory.fd.get(), [this, &directory](const std::string& name) -> absl::Status {
    struct stat st;
    if (::fstatat(directory.fd.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      return sys::ErrnoStatus("fstatat", name);
    }
    const bool own = IsOwn(directory, name);
    if (S_ISDIR(st.st_mode)) {
      GANTRY_ASSIGN_OR_RETURN(DirectoryPtr child, OpenChild(directory, name));
      GANTRY_RETURN_IF_ERROR(RemoveNotOwn(*child));
    }
    if (own) return absl::OkStatus();
    ForgetDirectories();
    const int flags = S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0;
    if (::unlinkat(directory.fd.get(), name.c_str(), flags) != 0 && errno != ENOTEMPTY) {
      return sys::ErrnoStatus("unlinkat", Join(directory.path, name));
    }
    return absl::OkStatus();
  });
}

}  // namespace gantry::diff
