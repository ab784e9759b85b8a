// A container's root file system, read without mounting it: the layers that its snapshot's mounts name, looked
// through from the top, as overlayfs would.
//
// Images are hostile: every step opens one path component below a layer's directory with O_NOFOLLOW, symbolic
// links are resolved here, inside the merged tree, at most 40 of them; only regular files are opened, and read
// up to a limit. Whiteouts and opaque directories are honoured (Documentation/filesystems/overlayfs.rst).
// Thread-safe once made. Needs the permission to enter the snapshotter's folders: root.
#ifndef GANTRY_CMD_GANTRY_RUN_MERGED_ROOT_H_
#define GANTRY_CMD_GANTRY_RUN_MERGED_ROOT_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::cli {

// The folders of the mounts that a snapshotter handed out, from the top: of an overlay (upperdir, then
// lowerdir, whose names may hold "\:") or of one bind mount. UNIMPLEMENTED for other types of mounts.
absl::StatusOr<std::vector<std::string>> LayerFolders(const std::string& type, const std::string& source,
                                                      const std::vector<std::string>& options);

class MergedRoot {
 public:
  // `folders` from the top; each must exist.
  static absl::StatusOr<MergedRoot> Open(const std::vector<std::string>& folders);

  // The regular file at the absolute `path`; NOT_FOUND if there is none, INVALID_ARGUMENT if something else
  // stands there, RESOURCE_EXHAUSTED if it is larger than `limit_bytes`.
  absl::StatusOr<std::string> ReadFile(absl::string_view path, size_t limit_bytes) const;

 private:
  // A directory of the merged tree: the directories that it consists of, from the top.
  using Directory = std::vector<std::shared_ptr<sys::UniqueFd>>;
  struct Found {
    Directory directory;  // not empty: a directory
    std::string link;     // not empty: a symbolic link
    sys::UniqueFd file;   // valid: a regular file
  };

  static absl::StatusOr<Found> Step(const Directory& directory, const std::string& name);

  Directory root_;
};

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_RUN_MERGED_ROOT_H_
