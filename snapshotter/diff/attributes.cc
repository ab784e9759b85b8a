#include "snapshotter/diff/attributes.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"
#include "snapshotter/diff/merged_dir.h"

namespace gantry::diff {
namespace {

constexpr size_t kMaxXattrBytes = 64 << 10;  // XATTR_SIZE_MAX and XATTR_LIST_MAX

absl::StatusOr<std::vector<std::string>> ListXattrs(const std::string& path) {
  std::string names(kMaxXattrBytes, '\0');
  const ssize_t size = ::listxattr(path.c_str(), names.data(), names.size());
  if (size < 0 && errno == ENOTSUP) return std::vector<std::string>();
  if (size < 0) return sys::ErrnoStatus("listxattr", path);
  names.resize(static_cast<size_t>(size));
  std::vector<std::string> list = absl::StrSplit(names, '\0', absl::SkipEmpty());
  std::sort(list.begin(), list.end());
  return list;
}

// One run of data, at the same place in both files.
absl::Status CopyRange(int from_fd, int to_fd, off_t begin, off_t end) {
  off_t in = begin, out = begin;
  while (in < end) {
    const ssize_t copied = ::copy_file_range(from_fd, &in, to_fd, &out, static_cast<size_t>(end - in), 0);
    if (copied > 0 || (copied < 0 && errno == EINTR)) continue;
    if (copied == 0) return absl::OkStatus();  // it shrank meanwhile
    if (errno == ENOSPC || errno == EIO || errno == EDQUOT)
      return sys::ErrnoStatus("copy_file_range", "copy");
    break;  // not between these file systems
  }
  constexpr size_t kStep = 256 << 10;
  const std::unique_ptr<char[]> buffer(in < end ? new char[kStep] : nullptr);
  while (in < end) {
    const ssize_t got = ::pread(from_fd, buffer.get(), std::min<off_t>(kStep, end - in), in);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return sys::ErrnoStatus("pread", "copy");
    if (got == 0) break;
    for (ssize_t done = 0; done < got;) {
      const ssize_t put = ::pwrite(to_fd, buffer.get() + done, static_cast<size_t>(got - done), in + done);
      if (put < 0 && errno != EINTR) return sys::ErrnoStatus("pwrite", "copy");
      if (put > 0) done += put;
    }
    in += got;
  }
  return absl::OkStatus();
}

}  // namespace

std::string ProcPath(int fd) { return absl::StrCat("/proc/self/fd/", fd); }

absl::Status SetXattrs(int fd, const Xattrs& xattrs) {
  if (xattrs.empty()) return absl::OkStatus();
  const std::string path = ProcPath(fd);
  for (const auto& [name, value] : xattrs) {
    if (IsOverlayXattr(name)) continue;
    if (::setxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0) == 0) continue;
    if (errno == ENOTSUP) continue;
    if (errno == EPERM && absl::StartsWith(name, "user.")) {
      struct stat st;
      if (::fstat(fd, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) continue;
      errno = EPERM;
    }
    return sys::ErrnoStatus("setxattr", name);
  }
  return absl::OkStatus();
}

absl::StatusOr<Xattrs> ReadXattrs(int fd) {
  const std::string path = ProcPath(fd);
  GANTRY_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListXattrs(path));
  Xattrs xattrs;
  std::string value;
  for (const std::string& name : names) {
    if (IsOverlayXattr(name)) continue;
    value.resize(kMaxXattrBytes);
    const ssize_t size = ::getxattr(path.c_str(), name.c_str(), value.data(), value.size());
    if (size < 0 && (errno == ENODATA || errno == ENOTSUP)) continue;  // gone, or never readable (some LSMs)
    if (size < 0) return sys::ErrnoStatus("getxattr", name);
    xattrs.emplace_back(name, value.substr(0, static_cast<size_t>(size)));
  }
  return xattrs;
}

absl::Status ClearXattrs(int fd) {
  const std::string path = ProcPath(fd);
  GANTRY_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListXattrs(path));
  for (const std::string& name : names) {
    const bool ours = absl::StartsWith(name, "user.") || absl::StartsWith(name, "trusted.") ||
                      absl::StartsWith(name, "system.posix_acl_");
    if (!ours || IsOverlayXattr(name)) continue;
    if (::removexattr(path.c_str(), name.c_str()) != 0 && errno != ENODATA) {
      return sys::ErrnoStatus("removexattr", name);
    }
  }
  return absl::OkStatus();
}

absl::Status CopyAttributes(int from_fd, const struct stat& from, int to_fd) {
  if (::fchownat(to_fd, "", from.st_uid, from.st_gid, AT_EMPTY_PATH) != 0) {
    return sys::ErrnoStatus("fchownat", "copy");
  }
  if (!S_ISLNK(from.st_mode) && ::chmod(ProcPath(to_fd).c_str(), from.st_mode & 07777) != 0) {
    return sys::ErrnoStatus("chmod", "copy");
  }
  GANTRY_ASSIGN_OR_RETURN(const Xattrs xattrs, ReadXattrs(from_fd));
  GANTRY_RETURN_IF_ERROR(SetXattrs(to_fd, xattrs));
  const timespec times[2] = {from.st_atim, from.st_mtim};
  if (::utimensat(to_fd, "", times, AT_EMPTY_PATH) != 0) return sys::ErrnoStatus("utimensat", "copy");
  return absl::OkStatus();
}

absl::Status CopyContent(int from_fd, int to_fd, off_t size_bytes) {
  if (size_bytes == 0) return absl::OkStatus();
  if (::ioctl(to_fd, FICLONE, from_fd) == 0) return absl::OkStatus();
  for (off_t at = 0; at < size_bytes;) {
    off_t data = ::lseek(from_fd, at, SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // a hole up to the end
    if (data < 0) data = at;
    off_t hole = ::lseek(from_fd, data, SEEK_HOLE);
    if (hole < 0) hole = size_bytes;
    GANTRY_RETURN_IF_ERROR(CopyRange(from_fd, to_fd, data, hole));
    at = hole;
  }
  if (::ftruncate(to_fd, size_bytes) != 0) return sys::ErrnoStatus("ftruncate", "copy");
  return absl::OkStatus();
}

}  // namespace gantry::diff
