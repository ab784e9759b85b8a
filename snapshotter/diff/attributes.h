// Metadata of files by descriptor: never by a path, so that a symlink swapped in cannot divert it.
// Source: path_resolution(7), symlink(7), xattr(7). Thread-safe: no state.
#ifndef GANTRY_SNAPSHOTTER_DIFF_ATTRIBUTES_H_
#define GANTRY_SNAPSHOTTER_DIFF_ATTRIBUTES_H_

#include <sys/stat.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::diff {

using Xattrs = std::vector<std::pair<std::string, std::string>>;

// The path through which the calls that take no O_PATH descriptor reach its file.
std::string ProcPath(int fd);

// setxattr(2) on the file of `fd` (O_PATH will do) for each. Left out without an error, as containerd does:
// overlayfs's own attributes, those that the file system does not support, user.* on what is neither file nor
// directory.
absl::Status SetXattrs(int fd, const Xattrs& xattrs);

// All attributes of the file of `fd` (O_PATH will do) but overlayfs's own, ordered by name.
absl::StatusOr<Xattrs> ReadXattrs(int fd);

// Removes the user.*, trusted.* (but overlayfs's) and ACL attributes.
absl::Status ClearXattrs(int fd);

// Gives `to_fd` the owner, permissions and attributes of `from_fd`, whose stat is `from`.
absl::Status CopyAttributes(int from_fd, const struct stat& from, int to_fd);

// Copies the content of a regular file: shares its blocks where the file system can (FICLONE), else
// copy_file_range(2), else by hand. Holes stay holes. `size_bytes` is what fstat says; `to_fd` is a new file.
absl::Status CopyContent(int from_fd, int to_fd, off_t size_bytes);

}  // namespace gantry::diff

#endif  // GANTRY_SNAPSHOTTER_DIFF_ATTRIBUTES_H_
