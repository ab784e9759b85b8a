// Reading and writing whole files by descriptor, and path resolution that a hostile tree cannot divert.
//
// Paths are resolved relative to a directory descriptor (AT_FDCWD for the process's own), with openat2(2)
// where the tree may be hostile. All descriptors returned are O_CLOEXEC. EINTR is retried. Thread-safe: no
// state.
#ifndef GANTRY_RUNTIME_SYS_FILE_H_
#define GANTRY_RUNTIME_SYS_FILE_H_

#include <fcntl.h>
#include <sys/types.h>

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::sys {

// openat(2) with O_CLOEXEC added.
absl::StatusOr<UniqueFd> OpenAt(int dirfd, const std::string& path, int flags, mode_t mode = 0);

// openat2(2) with RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS: `root_fd` acts as "/", symlinks and ".." cannot
// leave it.
absl::StatusOr<UniqueFd> OpenInRoot(int root_fd, const std::string& path, int flags, mode_t mode = 0);

// openat2(2) with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS: no component may be a
// symlink.
absl::StatusOr<UniqueFd> OpenBeneath(int root_fd, const std::string& path, int flags, mode_t mode = 0);

// Makes `path` and its missing parents below `root_fd` (resolved as in OpenInRoot), and returns an O_PATH
// descriptor of it. Existing directories keep their mode. A component that is no directory is an error.
absl::StatusOr<UniqueFd> MkdirAllInRoot(int root_fd, absl::string_view path, mode_t mode);

// mkdir -p on a trusted absolute path. Existing directories keep their mode.
absl::Status MkdirAll(const std::string& path, mode_t mode);

// The bytes from the current offset to the end; more than `limit_bytes` is RESOURCE_EXHAUSTED.
absl::StatusOr<std::string> ReadAll(int fd, size_t limit_bytes);
// Opens (no symlink as the last component is followed only if `flags` lacks O_NOFOLLOW) and reads.
absl::StatusOr<std::string> ReadFileAt(int dirfd, const std::string& path, size_t limit_bytes, int flags = 0);

// Writes all of `data`, over as many write(2) calls as it takes.
absl::Status WriteAll(int fd, absl::string_view data);
// Opens an existing file for writing and writes `data` in a single write(2): for /proc, /sys and cgroup
// files.
absl::Status WriteControlFile(int dirfd, const std::string& path, absl::string_view data);

enum class Durability { kVolatile, kSynced };
// Replaces `path` by a file holding `data`, so that a reader sees the old or the new content, never a mix:
// temporary file beside it, rename. With kSynced the file and its directory are fsynced: after return it
// survives a power cut. On error the old file stands unchanged and the temporary file is gone.
absl::Status WriteFileAtomic(int dirfd, const std::string& path, absl::string_view data, mode_t mode,
                             Durability durability);

// Removes `path` below `dirfd` with all it contains; never follows a symlink, nor crosses onto another
// mounted file system. A path that is not there is OK.
absl::Status RemoveAllAt(int dirfd, const std::string& path);

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_FILE_H_
