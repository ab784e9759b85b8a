// Paths inside a root that someone else controls: resolved by the kernel (openat2(2), RESOLVE_IN_ROOT and
// RESOLVE_NO_MAGICLINKS), so that no symlink, "..", or swap between check and use leads out.
//
// For the child after clone3: nothing allocates. Functions return a descriptor (O_CLOEXEC), or -1 with errno.
#ifndef GANTRY_RUNTIME_LINUX_IN_ROOT_H_
#define GANTRY_RUNTIME_LINUX_IN_ROOT_H_

#include <limits.h>
#include <sys/types.h>

namespace gantry::linux {

int OpenInRoot(int root, const char* path, int flags);

// An O_PATH descriptor of the directory `path`, made with its parents where missing.
int MakeDirectoryInRoot(int root, const char* path, mode_t mode);

// An O_PATH descriptor of `path`, which exists (whatever it is) or is made as an empty file.
int MakeFileInRoot(int root, const char* path);

// The directory of `path` (made where missing) and, in `buffer`, the last component. EINVAL for a path that
// has none, or ends in "." or "..".
int MakeParentInRoot(int root, const char* path, char (&buffer)[PATH_MAX], const char** name);

}  // namespace gantry::linux

#endif  // GANTRY_RUNTIME_LINUX_IN_ROOT_H_
