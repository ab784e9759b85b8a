#include "runtime/sys/file.h"

#include <dirent.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/status.h"

namespace gantry::sys {
namespace {

constexpr int kMaxRemovalDepth = 4096;  // deeper trees are an attack on our stack, not a container's files

absl::StatusOr<UniqueFd> OpenAt2(int dirfd, const std::string& path, int flags, mode_t mode,
                                 uint64_t resolve) {
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC;
  how.mode = (flags & (O_CREAT | __O_TMPFILE)) != 0 ? mode : 0;
  how.resolve = resolve;
  long fd;
  do {
    // EAGAIN: the kernel saw a rename race while it resolved "..": it asks us to try again.
    fd = syscall(SYS_openat2, dirfd, path.c_str(), &how, sizeof how);
  } while (fd < 0 && (errno == EINTR || errno == EAGAIN));
  if (fd < 0) return ErrnoStatus("openat2", path);
  return UniqueFd(static_cast<int>(fd));
}

struct DirCloser {
  void operator()(DIR* dir) const { closedir(dir); }
};

absl::Status RemoveTree(int dirfd, const std::string& name, dev_t device, int depth) {
  if (depth > kMaxRemovalDepth)
    return absl::ResourceExhaustedError(absl::StrCat(name, ": nested too deeply"));
  if (unlinkat(dirfd, name.c_str(), 0) == 0 || errno == ENOENT) return absl::OkStatus();
  if (errno != EISDIR && errno != EPERM) return ErrnoStatus("unlinkat", name);
  auto opened = OpenAt(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  if (!opened.ok()) return ErrnoOf(opened.status()) == ENOENT ? absl::OkStatus() : opened.status();
  struct stat st;
  if (fstat(opened->get(), &st) != 0) return ErrnoStatus("fstat", name);
  if (depth > 0 && st.st_dev != device) {
    return absl::FailedPreconditionError(
        absl::StrCat(name, " is a mount point: it is not removed with the tree around it"));
  }
  std::unique_ptr<DIR, DirCloser> dir(fdopendir(opened->get()));
  if (dir == nullptr) return ErrnoStatus("fdopendir", name);
  const int self = opened->release();  // closedir closes it
  for (;;) {
    errno = 0;
    const dirent* entry = readdir(dir.get());
    if (entry == nullptr) {
      if (errno != 0) return ErrnoStatus("readdir", name);
      break;
    }
    const std::string child = entry->d_name;
    if (child == "." || child == "..") continue;
    GANTRY_RETURN_IF_ERROR(RemoveTree(self, child, st.st_dev, depth + 1));
  }
  if (unlinkat(dirfd, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) return ErrnoStatus("rmdir", name);
  return absl::OkStatus();
}

std::string Dirname(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

}  // namespace

absl::StatusOr<UniqueFd> OpenAt(int dirfd, const std::string& path, int flags, mode_t mode) {
  int fd;
  do {
    fd = openat(dirfd, path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return ErrnoStatus("open", path);
  return UniqueFd(fd);
}

absl::StatusOr<UniqueFd> OpenInRoot(int root_fd, const std::string& path, int flags, mode_t mode) {
  return OpenAt2(root_fd, path, flags, mode, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

absl::StatusOr<UniqueFd> OpenBeneath(int root_fd, const std::string& path, int flags, mode_t mode) {
  return OpenAt2(root_fd, path, flags, mode, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS);
}

absl::StatusOr<UniqueFd> MkdirAllInRoot(int root_fd, absl::string_view path, mode_t mode) {
  // The path so far is resolved anew from the root at each step, so that ".." and symlinks mean what they
  // mean inside the root; the kernel, not we, walks them.
  std::string sofar = "/";
  GANTRY_ASSIGN_OR_RETURN(UniqueFd current, OpenInRoot(root_fd, sofar, O_PATH | O_DIRECTORY));
  for (absl::string_view part : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    const std::string name(part);
    sofar = absl::StrCat(sofar, sofar.back() == '/' ? "" : "/", name);
    auto next = OpenInRoot(root_fd, sofar, O_PATH | O_DIRECTORY);
    if (!next.ok() && ErrnoOf(next.status()) == ENOENT) {
      if (mkdirat(current.get(), name.c_str(), mode) != 0 && errno != EEXIST)
        return ErrnoStatus("mkdir", sofar);
      next = OpenInRoot(root_fd, sofar, O_PATH | O_DIRECTORY);
    }
    if (!next.ok()) return next.status();
    current = *std::move(next);
  }
  return current;
}

absl::Status MkdirAll(const std::string& path, mode_t mode) {
  if (mkdir(path.c_str(), mode) == 0) return absl::OkStatus();
  if (errno == ENOENT) {
    const std::string parent = Dirname(path);
    if (parent == path || parent == ".") return ErrnoStatus("mkdir", path, ENOENT);
    GANTRY_RETURN_IF_ERROR(MkdirAll(parent, mode));
    if (mkdir(path.c_str(), mode) == 0) return absl::OkStatus();
  }
  if (errno != EEXIST) return ErrnoStatus("mkdir", path);
  struct stat st;
  if (stat(path.c_str(), &st) != 0) return ErrnoStatus("stat", path);
  return S_ISDIR(st.st_mode) ? absl::OkStatus() : ErrnoStatus("mkdir", path, ENOTDIR);
}

absl::StatusOr<std::string> ReadAll(int fd, size_t limit_bytes) {
  std::string data;
  // Most of what is read this way is small: a buffer on the stack touches no new page for it, as a string that is
  // made large enough first does.
  constexpr size_t kSmall = 4096, kStep = 64 * 1024;
  char small[kSmall];
  for (;;) {
    const size_t old = data.size();
    const bool large = old >= 2 * kSmall;
    if (large) data.resize(old + kStep);
    ssize_t n;
    do {
      n = large ? read(fd, data.data() + old, kStep) : read(fd, small, kSmall);
    } while (n < 0 && errno == EINTR);
    if (n < 0) return ErrnoStatus("read", "");
    if (large) {
      data.resize(old + static_cast<size_t>(n));
    } else {
      data.append(small, static_cast<size_t>(n));
    }
    if (data.size() > limit_bytes) {
      return absl::ResourceExhaustedError(absl::StrCat("more than the allowed ", limit_bytes, " bytes"));
    }
    if (n == 0) return data;
  }
}

absl::StatusOr<std::string> ReadFileAt(int dirfd, const std::string& path, size_t limit_bytes, int flags) {
  GANTRY_ASSIGN_OR_RETURN(UniqueFd fd, OpenAt(dirfd, path, O_RDONLY | flags));
  auto data = ReadAll(fd.get(), limit_bytes);
  if (!data.ok()) return Annotate(data.status(), path);
  return data;
}

absl::Status WriteAll(int fd, absl::string_view data) {
  while (!data.empty()) {
    const ssize_t n = write(fd, data.data(), data.size());
    if (n < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus("write", "");
    }
    data.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

absl::Status WriteControlFile(int dirfd, const std::string& path, absl::string_view data) {
  GANTRY_ASSIGN_OR_RETURN(UniqueFd fd, OpenAt(dirfd, path, O_WRONLY));
  ssize_t n;
  do {
    n = write(fd.get(), data.data(), data.size());
  } while (n < 0 && errno == EINTR);
  if (n < 0) return ErrnoStatus("write", path);
  if (static_cast<size_t>(n) != data.size())
    return absl::InternalError(absl::StrCat("write ", path, ": short"));
  return absl::OkStatus();
}

absl::Status WriteFileAtomic(int dirfd, const std::string& path, absl::string_view data, mode_t mode,
                             Durability durability) {
  static std::atomic<unsigned> counter{0};
  const std::string temporary = absl::StrCat(path, ".tmp-", getpid(), "-", counter.fetch_add(1));
  const auto write_and_rename = [&]() -> absl::Status {
    GANTRY_ASSIGN_OR_RETURN(UniqueFd fd,
                            OpenAt(dirfd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode));
    GANTRY_RETURN_IF_ERROR(Annotate(WriteAll(fd.get(), data), temporary));
    if (durability == Durability::kSynced && fsync(fd.get()) != 0) return ErrnoStatus("fsync", temporary);
    if (renameat(dirfd, temporary.c_str(), dirfd, path.c_str()) != 0) return ErrnoStatus("rename", path);
    return absl::OkStatus();
  };
  if (absl::Status status = write_and_rename(); !status.ok()) {
    unlinkat(dirfd, temporary.c_str(), 0);
    return status;
  }
  if (durability == Durability::kSynced) {
    GANTRY_ASSIGN_OR_RETURN(UniqueFd directory, OpenAt(dirfd, Dirname(path), O_RDONLY | O_DIRECTORY));
    if (fsync(directory.get()) != 0) return ErrnoStatus("fsync", Dirname(path));
  }
  return absl::OkStatus();
}

absl::Status RemoveAllAt(int dirfd, const std::string& path) { return RemoveTree(dirfd, path, 0, 0); }

}  // namespace gantry::sys
