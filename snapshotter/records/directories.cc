#include "snapshotter/records/directories.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::snapshotter {
namespace {

constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
constexpr int kMaxDepth = 4096;  // PATH_MAX: nothing deeper has a name

struct DirCloser {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

absl::StatusOr<std::vector<std::string>> NamesIn(int fd) {
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd own, sys::OpenAt(fd, ".", kOpenDirectory));
  std::unique_ptr<DIR, DirCloser> dir(::fdopendir(own.get()));
  if (dir == nullptr) return sys::ErrnoStatus("fdopendir", "snapshots");
  (void)own.release();  // closedir closes it
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(dir.get());
    if (entry == nullptr) break;
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  if (errno != 0) return sys::ErrnoStatus("readdir", "snapshots");
  return names;
}

struct Measure {
  dev_t device;
  Usage usage;
  absl::flat_hash_set<ino_t> linked;  // inodes with several names that were counted

  void Count(const struct stat& st) {
    if (!S_ISDIR(st.st_mode) && st.st_nlink > 1 && !linked.insert(st.st_ino).second) return;
    usage.inodes += 1;
    usage.size_bytes += st.st_blocks * 512;  // stat(2): in units of 512, whatever the file system
  }

  absl::Status Below(int fd, int depth) {
    if (depth > kMaxDepth) return absl::ResourceExhaustedError("a snapshot's tree is nested too deeply");
    GANTRY_ASSIGN_OR_RETURN(const std::vector<std::string> names, NamesIn(fd));
    for (const std::string& name : names) {
      struct stat st;
      if (::fstatat(fd, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) continue;  // a running container removes files while we look
        return sys::ErrnoStatus("fstatat", name);
      }
      if (st.st_dev != device) continue;
      Count(st);
      if (!S_ISDIR(st.st_mode)) continue;
      auto child = sys::OpenAt(fd, name, kOpenDirectory);
      if (!child.ok() && sys::ErrnoOf(child.status()) == ENOENT) continue;
      if (!child.ok()) return child.status();
      GANTRY_RETURN_IF_ERROR(Below(child->get(), depth + 1));
    }
    return absl::OkStatus();
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Directories>> Directories::Open(const std::string& root) {
  sys::UniqueFd fds[2];
  const char* const names[2] = {"snapshots", "trash"};
  for (int i = 0; i < 2; ++i) {
    const std::string path = absl::StrCat(root, "/", names[i]);
    GANTRY_RETURN_IF_ERROR(sys::MkdirAll(path, 0700));
    GANTRY_ASSIGN_OR_RETURN(fds[i], sys::OpenAt(AT_FDCWD, path, O_RDONLY | O_DIRECTORY));
  }
  return std::unique_ptr<Directories>(new Directories(root, std::move(fds[0]), std::move(fds[1])));
}

std::string Directories::PathOf(uint64_t id) const { return absl::StrCat(root_, "/snapshots/", id); }

absl::StatusOr<std::vector<uint64_t>> Directories::List() const {
  GANTRY_ASSIGN_OR_RETURN(const std::vector<std::string> names, NamesIn(snapshots_.get()));
  std::vector<uint64_t> ids;
  for (const std::string& name : names) {
    uint64_t id = 0;
    if (absl::SimpleAtoi(name, &id)) ids.push_back(id);
  }
  return ids;
}

absl::Status Directories::Discard(uint64_t id) {
  const std::string name = absl::StrCat(id);
  if (::renameat(snapshots_.get(), name.c_str(), trash_.get(), name.c_str()) == 0 || errno == ENOENT) {
    return absl::OkStatus();
  }
  return sys::ErrnoStatus("renameat", PathOf(id));
}

absl::Status Directories::EmptyTrash() {
  absl::MutexLock lock(&emptying_);
  GANTRY_ASSIGN_OR_RETURN(const std::vector<std::string> names, NamesIn(trash_.get()));
  absl::Status first_error;
  for (const std::string& name : names) {
    first_error.Update(sys::RemoveAllAt(trash_.get(), name));
  }
  return first_error;
}

absl::Status Directories::Sync() const {
  if (::syncfs(snapshots_.get()) != 0) return sys::ErrnoStatus("syncfs", root_);
  return absl::OkStatus();
}

absl::StatusOr<Usage> MeasureUsage(const std::string& path) {
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::OpenAt(AT_FDCWD, path, kOpenDirectory));
  struct stat st;
  if (::fstat(fd.get(), &st) != 0) return sys::ErrnoStatus("fstat", path);
  Measure measure{st.st_dev, {}, {}};
  measure.Count(st);
  GANTRY_RETURN_IF_ERROR(measure.Below(fd.get(), 0));
  return measure.usage;
}

}  // namespace gantry::snapshotter
