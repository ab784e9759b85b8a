// A stack of directories seen as overlayfs would show it, without mounting anything.
//
// The diff service needs to know what a snapshot's lower layers hold (whose mode a directory that the layer does
// not name shall get, what a hard link's target is, what has changed), and mounting for that would cost more than
// the look itself, need cleaning up, and could leak. The rules are the kernel's
// (Documentation/filesystems/overlayfs.rst): the uppermost entry of a name counts; directories merge downwards
// until one is opaque or something else is in the way; a character device 0:0 hides a name.
//
// Nothing here follows a symlink, so nothing leads out of the layers.
#ifndef GANTRY_SNAPSHOTTER_DIFF_MERGED_DIR_H_
#define GANTRY_SNAPSHOTTER_DIFF_MERGED_DIR_H_

#include <sys/stat.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::diff {

// Which extended attributes overlayfs uses: "trusted.overlay." or, mounted with the option userxattr,
// "user.overlay.".
enum class OverlayXattrs { kTrusted, kUser };

std::string OpaqueXattr(OverlayXattrs xattrs);
bool IsWhiteout(const struct stat& st);
// Whether an extended attribute is overlayfs's own, of either kind: it is never taken from nor put into an archive.
bool IsOverlayXattr(absl::string_view name);

// Immutable after construction; thread-safe as the file system is.
class MergedDir {
 public:
  // What a name is.
  struct Node {
    std::string name;
    struct stat st = {};
    int layer_fd = -1;  // the directory that holds it; valid as long as the MergedDir
    std::vector<int>
        layers;  // of a directory: the fds of all directories that may hold parts of it, from the top
  };

  // `paths` from the top layer down. A stack of none is an empty directory.
  static absl::StatusOr<std::unique_ptr<MergedDir>> Open(const std::vector<std::string>& paths,
                                                         OverlayXattrs xattrs);

  // Nothing if there is no such name.
  absl::StatusOr<std::optional<Node>> Lookup(const std::string& name) const;
  // All entries, ordered by the bytes of their names.
  absl::StatusOr<std::vector<Node>> List() const;
  // The merged directory that `node`, found here, is.
  absl::StatusOr<std::unique_ptr<MergedDir>> Descend(const Node& node) const;
  // Lookup along a path of names ("a/b/c", clean). `holder` gets the directory that holds the last one and must
  // outlive the use of the node's fds.
  absl::StatusOr<std::optional<Node>> LookupPath(absl::string_view path,
                                                 std::unique_ptr<MergedDir>* holder) const;

  // The layers that take part, from the top. The first one's attributes are the directory's.
  const std::vector<sys::UniqueFd>& layers() const { return layers_; }

 private:
  explicit MergedDir(OverlayXattrs xattrs) : xattrs_(xattrs) {}

  OverlayXattrs xattrs_;
  std::vector<sys::UniqueFd> layers_;
};

}  // namespace gantry::diff

#endif  // GANTRY_SNAPSHOTTER_DIFF_MERGED_DIR_H_
