#include "runtime/linux/copy_up.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

namespace gantry::linux {
namespace {

constexpr int kMaxDepth = 64;

struct DirectoryEntry {  // getdents64(2)
  uint64_t inode;
  int64_t offset;
  unsigned short size;
  unsigned char type;
  char name[];
};

int CopyLevel(int from, int to, int depth);

int CopyFile(int from, int to, const char* name, const struct stat& st) {
  const int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  if (in < 0) return -1;
  const int out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  int result = out < 0 ? -1 : 0;
  off_t left = st.st_size;
  while (result == 0 && left > 0) {
    const ssize_t n = sendfile(out, in, nullptr, static_cast<size_t>(left));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) result = -1;
    if (n <= 0) break;
    left -= n;
  }
  const int saved = errno;
  if (out >= 0) close(out);
  close(in);
  errno = saved;
  return result;
}

int CopyDirectory(int from, int to, const char* name, int depth) {
  if (mkdirat(to, name, 0700) != 0) return -1;
  const int in = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  const int out = in < 0 ? -1 : openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  const int result = out < 0 ? -1 : CopyLevel(in, out, depth + 1);
  const int saved = errno;
  if (out >= 0) close(out);
  if (in >= 0) close(in);
  errno = saved;
  return result;
}

int CopySymlink(int from, int to, const char* name) {
  char target[PATH_MAX];
  const ssize_t n = readlinkat(from, name, target, sizeof target - 1);
  if (n < 0) return -1;
  target[n] = '\0';
  return symlinkat(target, to, name);
}

int CopyEntry(int from, int to, const char* name, int depth) {
  struct stat st;
  if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return -1;
  int result;
  switch (st.st_mode & S_IFMT) {
    case S_IFDIR:
      result = CopyDirectory(from, to, name, depth);
      break;
    case S_IFREG:
      result = CopyFile(from, to, name, st);
      break;
    case S_IFLNK:
      result = CopySymlink(from, to, name);
      break;
    case S_IFSOCK:
      return 0;
    default:
      result = mknodat(to, name, st.st_mode & (S_IFMT | 0600), st.st_rdev);
      break;
  }
  if (result != 0) return -1;
  if (fchownat(to, name, st.st_uid, st.st_gid, AT_SYMLINK_NOFOLLOW) != 0) return -1;
  if (!S_ISLNK(st.st_mode) && fchmodat(to, name, st.st_mode & 07777, 0) != 0) return -1;
  const struct timespec times[2] = {st.st_atim, st.st_mtim};
  return utimensat(to, name, times, AT_SYMLINK_NOFOLLOW);
}

int CopyLevel(int from, int to, int depth) {
  if (depth > kMaxDepth) {
    errno = ELOOP;
    return -1;
  }
  alignas(DirectoryEntry) char buffer[4096];
  for (;;) {
    const long n = syscall(SYS_getdents64, from, buffer, sizeof buffer);
    if (n <= 0) return static_cast<int>(n);
    for (long at = 0; at < n;) {
      const auto* entry = reinterpret_cast<const DirectoryEntry*>(buffer + at);
      at += entry->size;
      if (strcmp(entry->name, ".") == 0 || strcmp(entry->name, "..") == 0) continue;
      if (CopyEntry(from, to, entry->name, depth) != 0) return -1;
    }
  }
}

}  // namespace

int CopyTree(int from, int to) {
  const int in = openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (in < 0) return -1;
  struct stat st;
  int result = fstat(in, &st);
  if (result == 0) result = CopyLevel(in, to, 0);
  if (result == 0) result = fchownat(to, ".", st.st_uid, st.st_gid, 0);
  const int saved = errno;
  close(in);
  errno = saved;
  return result;
}

}  // namespace gantry::linux
