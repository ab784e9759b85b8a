#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"
#include "snapshotter/diff/attributes.h"
#include "snapshotter/native/native.h"

namespace gantry::snapshotter {
namespace {

constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
constexpr int kMaxDepth = 4096;  // PATH_MAX: nothing deeper has a name

struct DirCloser {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

class TreeCopy {
 public:
  explicit TreeCopy(int to_root) : to_root_(to_root) {}

  absl::Status Directory(int from, int to, const std::string& path, int depth) {
    if (depth > kMaxDepth) return absl::ResourceExhaustedError("a snapshot's tree is nested too deeply");
    struct stat st;
    if (::fstat(from, &st) != 0) return sys::ErrnoStatus("fstat", path);
    GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd own, sys::OpenAt(from, ".", kOpenDirectory));
    const std::unique_ptr<DIR, DirCloser> dir(::fdopendir(own.get()));
    if (dir == nullptr) return sys::ErrnoStatus("fdopendir", path);
    (void)own.release();  // closedir closes it
    for (;;) {
      errno = 0;
      const dirent* entry = ::readdir(dir.get());
      if (entry == nullptr && errno != 0) return sys::ErrnoStatus("readdir", path);
      if (entry == nullptr) break;
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      GANTRY_RETURN_IF_ERROR(Entry(from, to, name, absl::StrCat(path, path.empty() ? "" : "/", name), depth));
    }
    return diff::CopyAttributes(from, st, to);  // last: making entries changes the times
  }

 private:
  absl::Status Entry(int from, int to, const std::string& name, const std::string& path, int depth) {
    struct stat st;
    if (::fstatat(from, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
      return sys::ErrnoStatus("fstatat", path);
    if (S_ISDIR(st.st_mode)) {
      if (::mkdirat(to, name.c_str(), 0700) != 0) return sys::ErrnoStatus("mkdirat", path);
      GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd from_child, sys::OpenAt(from, name, kOpenDirectory));
      GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd to_child, sys::OpenAt(to, name, kOpenDirectory));
      return Directory(from_child.get(), to_child.get(), path, depth + 1);
    }
    if (S_ISSOCK(st.st_mode)) return absl::OkStatus();  // its listener is gone
    if (st.st_nlink > 1) {
      const auto [known, first] = linked_.try_emplace(st.st_ino, path);
      if (!first) {
        if (::linkat(to_root_, known->second.c_str(), to, name.c_str(), 0) != 0) {
          return sys::ErrnoStatus("linkat", path);
        }
        return absl::OkStatus();
      }
    }
    return Inode(from, to, name, path, st);
  }

  static absl::Status Inode(int from, int to, const std::string& name, const std::string& path,
                            const struct stat& st) {
    sys::UniqueFd in, out;
    if (S_ISREG(st.st_mode)) {
      GANTRY_ASSIGN_OR_RETURN(in, sys::OpenAt(from, name, O_RDONLY | O_NOFOLLOW));
      GANTRY_ASSIGN_OR_RETURN(out, sys::OpenAt(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600));
      GANTRY_RETURN_IF_ERROR(diff::CopyContent(in.get(), out.get(), st.st_size));
      return diff::CopyAttributes(in.get(), st, out.get());
    }
    if (S_ISLNK(st.st_mode)) {
      char link[PATH_MAX + 1] = {};
      if (::readlinkat(from, name.c_str(), link, PATH_MAX) < 0) return sys::ErrnoStatus("readlinkat", path);
      if (::symlinkat(link, to, name.c_str()) != 0) return sys::ErrnoStatus("symlinkat", path);
    } else if (::mknodat(to, name.c_str(), st.st_mode, st.st_rdev) != 0) {
      return sys::ErrnoStatus("mknodat", path);
    }
    GANTRY_ASSIGN_OR_RETURN(in, sys::OpenAt(from, name, O_PATH | O_NOFOLLOW));
    GANTRY_ASSIGN_OR_RETURN(out, sys::OpenAt(to, name, O_PATH | O_NOFOLLOW));
    return diff::CopyAttributes(in.get(), st, out.get());
  }

  const int to_root_;
  absl::flat_hash_map<ino_t, std::string> linked_;  // inodes with several names, and where the first one went
};

}  // namespace

absl::Status CopyTree(int from_fd, int to_fd) { return TreeCopy(to_fd).Directory(from_fd, to_fd, "", 0); }

}  // namespace gantry::snapshotter
