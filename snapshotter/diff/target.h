// The directory that a layer is extracted into: finding and making directories in it, and hiding what lower layers
// have.
//
// Names in a layer come from strangers, and a container may be changing the tree at this very moment. So every
// step is taken relative to a directory descriptor that was reached inside the root (openat2 with
// RESOLVE_IN_ROOT, or component by component without following), and the last component of a name is never
// followed. Nothing that a name or a swapped symlink says leads out.
//
// A target has one of two forms:
// - an overlay's upper directory: removals are recorded in overlayfs's own form (device 0:0, opaque attribute),
//   lower layers are looked at but never touched;
// - a plain tree that holds the lower layers' content already: removals remove.
// In both, a whiteout hides what lower layers have and nothing that this layer itself brought, in whatever order
// the entries come (OCI image-spec, layer.md, "Whiteouts").
//
// Not thread-safe.
#ifndef GANTRY_SNAPSHOTTER_DIFF_TARGET_H_
#define GANTRY_SNAPSHOTTER_DIFF_TARGET_H_

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/sys/unique_fd.h"
#include "snapshotter/diff/merged_dir.h"

namespace gantry::diff {

struct TargetOptions {
  std::string directory;  // the upper directory, or the plain tree
  bool overlay = false;
  OverlayXattrs xattrs = OverlayXattrs::kTrusted;
  std::vector<std::string> lowers;  // of an overlay, from the top
};

// `name` without empty, "." and ".." components and without a leading slash; ".." stops at the root. "" is the
// root itself.
std::string CleanPath(absl::string_view name);

// A path split into its directory ("" the root) and last name.
std::pair<absl::string_view, absl::string_view> SplitPath(absl::string_view clean);

class Target {
 public:
  struct Directory {
    std::string path;  // from the root, without symlinks
    sys::UniqueFd fd;  // O_RDONLY
    ino_t inode = 0;
    bool setgid = false;  // what is made in it inherits its group
  };
  using DirectoryPtr = std::shared_ptr<const Directory>;
  enum class Missing { kFail, kMake };

  static absl::StatusOr<std::unique_ptr<Target>> Open(TargetOptions options);

  // The directory at a clean path, symlinks resolved inside the root. kMake: missing ones are made, 0755 and
  // root's, or like the one of the same name in the lower layers. NOT_FOUND with kFail; INVALID_ARGUMENT when
  // something of this layer that is no directory is in the way.
  absl::StatusOr<DirectoryPtr> Find(absl::string_view path, Missing missing);
  // A directory that was just made and opened, so that Find need not.
  absl::StatusOr<DirectoryPtr> Adopt(const DirectoryPtr& parent, absl::string_view name, sys::UniqueFd fd);

  // Removes whatever `name` is. `*hid_lower` tells that it was no directory, so that what lower layers have
  // under the name was hidden by it.
  absl::Status MakeRoom(const DirectoryPtr& parent, const std::string& name, bool* hid_lower);

  // A whiteout: what lower layers have under `name` is gone.
  absl::Status HideName(const DirectoryPtr& parent, const std::string& name);
  // An opaque marker: what lower layers have in `directory` is gone.
  absl::Status HideContent(const Directory& directory);
  // Marks a directory that was made where lower layers' was hidden.
  absl::Status MarkOpaque(int directory_fd);

  // Remembers that this layer brought `name`.
  void NoteOwn(const Directory& parent, const std::string& name);

  // What the lower layers have at a clean path. Nothing in a plain tree.
  absl::StatusOr<std::optional<MergedDir::Node>> LookupLower(absl::string_view path,
                                                             std::unique_ptr<MergedDir>* holder);

  bool IsOwn(const Directory& parent, const std::string& name) const;
  bool overlay() const { return options_.overlay; }
  int root_fd() const { return root_->fd.get(); }
  mode_t umask() const { return umask_; }
  // Forgets the directories that Find keeps open; after a change that may have moved one.
  void ForgetDirectories() { recent_.clear(); }

 private:
  explicit Target(TargetOptions options) : options_(std::move(options)) {}

  absl::StatusOr<DirectoryPtr> Walk(absl::string_view path, Missing missing);
  absl::StatusOr<DirectoryPtr> OpenChild(const Directory& parent, const std::string& name);
  absl::StatusOr<DirectoryPtr> MakeChild(const std::vector<DirectoryPtr>& stack, const std::string& name,
                                         bool opaque);
  absl::StatusOr<DirectoryPtr> ReplaceByDirectory(const std::vector<DirectoryPtr>& stack,
                                                  const std::string& name, Missing missing);
  absl::Status CopyLowerAttributes(const std::vector<DirectoryPtr>& stack, const Directory& made);
  absl::Status RemoveWhiteouts(int directory_fd);
  absl::Status RemoveNotOwn(const Directory& directory);
  void Remember(absl::string_view path, DirectoryPtr directory);

  TargetOptions options_;
  DirectoryPtr root_;
  mode_t umask_ = 022;
  std::unique_ptr<MergedDir> lowers_;  // opened at the first need
  // The last few directories by the path they were asked for, the latest last: entries of one directory mostly
  // follow each other.
  std::vector<std::pair<std::string, DirectoryPtr>> recent_;
  // What this layer brought, by the parent's inode and the name. Kept only where a whiteout has to tell it from
  // what was there before: when the directory was not empty at the start.
  bool track_own_ = false;
  absl::flat_hash_set<std::pair<ino_t, std::string>> own_;
};

}  // namespace gantry::diff

#endif  // GANTRY_SNAPSHOTTER_DIFF_TARGET_H_
