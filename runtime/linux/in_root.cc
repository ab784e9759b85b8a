#include "runtime/linux/in_root.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

namespace gantry::linux {
namespace {

int Close(int fd, int result) {
  const int saved = errno;
  close(fd);
  errno = saved;
  return result;
}

// Walks `path` from the root, one component more each time, making what is missing. The kernel resolves each
// prefix anew, so that symlinks and ".." mean what they mean inside.
int MakeEach(int root, char (&path)[PATH_MAX], mode_t mode) {
  int current = OpenInRoot(root, "/", O_PATH | O_DIRECTORY);
  char* position = path;
  while (current >= 0) {
    while (*position == '/') position++;
    if (*position == '\0') break;
    char* end = strchrnul(position, '/');
    const char saved = *end;
    *end = '\0';
    int next = OpenInRoot(root, path, O_PATH | O_DIRECTORY);
    if (next < 0 && errno == ENOENT) {
      if (mkdirat(current, position, mode) != 0 && errno != EEXIST) return Close(current, -1);
      next = OpenInRoot(root, path, O_PATH | O_DIRECTORY);
    }
    current = Close(current, next);
    *end = saved;
    position = end;
  }
  return current;
}

}  // namespace

int OpenInRoot(int root, const char* path, int flags) {
  struct open_how how = {};
  how.flags = static_cast<uint64_t>(flags) | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  // EAGAIN: a rename somewhere raced with "..". A swapper may keep at it, so not for ever.
  for (int tries = 0; tries < 1000; tries++) {
    const int fd = static_cast<int>(syscall(SYS_openat2, root, path, &how, sizeof how));
    if (fd >= 0 || (errno != EAGAIN && errno != EINTR)) return fd;
  }
  return -1;
}

int MakeDirectoryInRoot(int root, const char* path, mode_t mode) {
  const int fd = OpenInRoot(root, path, O_PATH | O_DIRECTORY);
  if (fd >= 0 || errno != ENOENT) return fd;
  char buffer[PATH_MAX];
  const size_t size = strlen(path);
  if (size >= sizeof buffer) {
    errno = ENAMETOOLONG;
    return -1;
  }
  memcpy(buffer, path, size + 1);
  // Usually only the last component is missing.
  char* slash = strrchr(buffer, '/');
  const char* name = slash == nullptr ? "" : slash + 1;
  if (*name != '\0' && slash != buffer && strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
    *slash = '\0';
    const int parent = OpenInRoot(root, buffer, O_PATH | O_DIRECTORY);
    *slash = '/';
    const bool made = parent >= 0 && mkdirat(parent, name, mode) == 0;
    if (parent >= 0) close(parent);
    if (made) return OpenInRoot(root, path, O_PATH | O_DIRECTORY);
  }
  return MakeEach(root, buffer, mode);
}

int MakeParentInRoot(int root, const char* path, char (&buffer)[PATH_MAX], const char** name) {
  size_t size = strlen(path);
  while (size > 0 && path[size - 1] == '/') size--;
  if (size == 0 || size >= sizeof buffer) {
    errno = size == 0 ? EINVAL : ENAMETOOLONG;
    return -1;
  }
  memcpy(buffer, path, size);
  buffer[size] = '\0';
  char* slash = strrchr(buffer, '/');
  *name = slash == nullptr ? buffer : slash + 1;
  if (strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0) {
    errno = EINVAL;
    return -1;
  }
  if (slash == nullptr) return OpenInRoot(root, "/", O_PATH | O_DIRECTORY);
  *slash = '\0';
  return MakeDirectoryInRoot(root, slash == buffer ? "/" : buffer, 0755);
}

int MakeFileInRoot(int root, const char* path) {
  int fd = OpenInRoot(root, path, O_PATH);
  if (fd >= 0 || errno != ENOENT) return fd;
  char buffer[PATH_MAX];
  const char* name;
  const int parent = MakeParentInRoot(root, path, buffer, &name);
  if (parent < 0) return -1;
  fd = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd < 0) return Close(parent, -1);
  close(fd);
  fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  return Close(parent, fd);
}

}  // namespace gantry::linux
