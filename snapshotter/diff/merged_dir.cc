#include "snapshotter/diff/merged_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <cerrno>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::diff {
namespace {

constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;

// The marks of overlayfs on one directory.
struct Marks {
  bool opaque = false;
};

absl::StatusOr<Marks> ReadMarks(int fd, OverlayXattrs xattrs) {
  Marks marks;
  char value[8];
  const std::string opaque = OpaqueXattr(xattrs);
  marks.opaque = ::fgetxattr(fd, opaque.c_str(), value, sizeof value) == 1 && value[0] == 'y';
  const std::string redirect =
      xattrs == OverlayXattrs::kUser ? "user.overlay.redirect" : "trusted.overlay.redirect";
  if (::fgetxattr(fd, redirect.c_str(), nullptr, 0) > 0) {
    return absl::UnimplementedError(
        "a directory of this snapshot was renamed under overlayfs's redirect_dir=on, which is not followed "
        "here; "
        "load the overlay module with redirect_dir=off");
  }
  return marks;
}

struct DirCloser {
  void operator()(DIR* dir) const { ::closedir(dir); }
};

absl::StatusOr<std::vector<std::string>> NamesIn(int fd) {
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd own, sys::OpenAt(fd, ".", kOpenDirectory));
  std::unique_ptr<DIR, DirCloser> dir(::fdopendir(own.get()));
  if (dir == nullptr) return sys::ErrnoStatus("fdopendir", "layer");
  (void)own.release();  // closedir closes it
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(dir.get());
    if (entry == nullptr) break;
    const absl::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  if (errno != 0) return sys::ErrnoStatus("readdir", "layer");
  return names;
}

}  // namespace

std::string OpaqueXattr(OverlayXattrs xattrs) {
  return xattrs == OverlayXattrs::kUser ? "user.overlay.opaque" : "trusted.overlay.opaque";
}

bool IsWhiteout(const struct stat& st) { return S_ISCHR(st.st_mode) && st.st_rdev == makedev(0, 0); }

bool IsOverlayXattr(absl::string_view name) {
  return absl::StartsWith(name, "trusted.overlay.") || absl::StartsWith(name, "user.overlay.");
}

absl::StatusOr<std::unique_ptr<MergedDir>> MergedDir::Open(const std::vector<std::string>& paths,
                                                           OverlayXattrs xattrs) {
  std::unique_ptr<MergedDir> merged(new MergedDir(xattrs));
  for (const std::string& path : paths) {
    GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::OpenAt(AT_FDCWD, path, O_RDONLY | O_DIRECTORY));
    merged->layers_.push_back(std::move(fd));
  }
  return merged;
}

absl::StatusOr<std::optional<MergedDir::Node>> MergedDir::Lookup(const std::string& name) const {
  Node node;
  for (const sys::UniqueFd& layer : layers_) {
    struct stat st;
    if (::fstatat(layer.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno == ENOENT) continue;
      return sys::ErrnoStatus("fstatat", name);
    }
    const bool first = node.layer_fd < 0;
    if (first && IsWhiteout(st)) return std::optional<Node>();
    if (!first && !S_ISDIR(st.st_mode)) break;  // hides what is below it, and is hidden itself
    if (first) {
      node.name = name;
      node.st = st;
      node.layer_fd = layer.get();
      if (!S_ISDIR(st.st_mode)) break;
    }
    node.layers.push_back(layer.get());
  }
  if (node.layer_fd < 0) return std::optional<Node>();
  return std::optional<Node>(std::move(node));
}

absl::StatusOr<std::vector<MergedDir::Node>> MergedDir::List() const {
  std::map<std::string, bool> names;  // ordered
  for (const sys::UniqueFd& layer : layers_) {
    GANTRY_ASSIGN_OR_RETURN(const std::vector<std::string> here, NamesIn(layer.get()));
    for (const std::string& name : here) names[name] = true;
  }
  std::vector<Node> nodes;
  for (const auto& [name, unused] : names) {
    GANTRY_ASSIGN_OR_RETURN(std::optional<Node> node, Lookup(name));
    if (node) nodes.push_back(*std::move(node));
  }
  return nodes;
}

absl::StatusOr<std::unique_ptr<MergedDir>> MergedDir::Descend(const Node& node) const {
  std::unique_ptr<MergedDir> merged(new MergedDir(xattrs_));
  for (const int layer : node.layers) {
    GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::OpenAt(layer, node.name, kOpenDirectory));
    GANTRY_ASSIGN_OR_RETURN(const Marks marks, ReadMarks(fd.get(), xattrs_));
    merged->layers_.push_back(std::move(fd));
    if (marks.opaque) break;
  }
  return merged;
}

absl::StatusOr<std::optional<MergedDir::Node>> MergedDir::LookupPath(
    absl::string_view path, std::unique_ptr<MergedDir>* holder) const {
  const MergedDir* at = this;
  std::optional<Node> node;
  for (const absl::string_view name : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (node) {
      if (!S_ISDIR(node->st.st_mode)) return std::optional<Node>();
      GANTRY_ASSIGN_OR_RETURN(*holder, at->Descend(*node));
      at = holder->get();
    }
    GANTRY_ASSIGN_OR_RETURN(node, at->Lookup(std::string(name)));
    if (!node) return node;
  }
  return node;
}

}  // namespace gantry::diff
