#include "snapshotter/diff/compare.h"

#include <fcntl.h>
#include <unistd.h>

#include <climits>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"
#include "snapshotter/diff/attributes.h"

namespace gantry::diff {
namespace {

using Node = MergedDir::Node;

constexpr int kMaxDepth = 4096;  // PATH_MAX: nothing deeper has a name

absl::StatusOr<Xattrs> XattrsOf(const Node& node) {
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::OpenAt(node.layer_fd, node.name, O_PATH | O_NOFOLLOW));
  return ReadXattrs(fd.get());
}

absl::StatusOr<std::string> LinkOf(const Node& node) {
  char link[PATH_MAX + 1] = {};
  if (::readlinkat(node.layer_fd, node.name.c_str(), link, PATH_MAX) < 0) {
    return sys::ErrnoStatus("readlinkat", node.name);
  }
  return std::string(link);
}

absl::StatusOr<bool> SameContent(const Node& left, const Node& right) {
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd a, sys::OpenAt(left.layer_fd, left.name, O_RDONLY | O_NOFOLLOW));
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd b, sys::OpenAt(right.layer_fd, right.name, O_RDONLY | O_NOFOLLOW));
  constexpr size_t kStep = 128 << 10;
  const std::unique_ptr<char[]> buffers(new char[2 * kStep]);
  for (off_t at = 0;;) {
    const ssize_t got = ::pread(a.get(), buffers.get(), kStep, at);
    const ssize_t other = ::pread(b.get(), buffers.get() + kStep, kStep, at);
    if (got < 0 || other < 0) return sys::ErrnoStatus("pread", left.name);
    if (got != other || std::memcmp(buffers.get(), buffers.get() + kStep, static_cast<size_t>(got)) != 0) {
      return false;
    }
    if (got == 0) return true;
    at += got;
  }
}

// Not for a directory on one side only.
absl::StatusOr<bool> Same(const Node& left, const Node& right) {
  const struct stat &a = left.st, &b = right.st;
  if (a.st_dev == b.st_dev && a.st_ino == b.st_ino) return true;
  if (a.st_mode != b.st_mode || a.st_uid != b.st_uid || a.st_gid != b.st_gid || a.st_rdev != b.st_rdev) {
    return false;
  }
  GANTRY_ASSIGN_OR_RETURN(const Xattrs left_xattrs, XattrsOf(left));
  GANTRY_ASSIGN_OR_RETURN(const Xattrs right_xattrs, XattrsOf(right));
  if (left_xattrs != right_xattrs) return false;
  if (S_ISDIR(a.st_mode)) return true;
  if (a.st_size != b.st_size || a.st_mtim.tv_sec != b.st_mtim.tv_sec) return false;
  if (S_ISLNK(a.st_mode)) {
    GANTRY_ASSIGN_OR_RETURN(const std::string left_link, LinkOf(left));
    GANTRY_ASSIGN_OR_RETURN(const std::string right_link, LinkOf(right));
    return left_link == right_link;
  }
  return S_ISREG(a.st_mode) ? SameContent(left, right) : true;
}

// Whether both are made of the same directories.
bool SameLayers(const MergedDir& left, const MergedDir& right) {
  if (left.layers().size() != right.layers().size()) return false;
  for (size_t i = 0; i < left.layers().size(); ++i) {
    struct stat a, b;
    if (::fstat(left.layers()[i].get(), &a) != 0 || ::fstat(right.layers()[i].get(), &b) != 0) return false;
    if (a.st_dev != b.st_dev || a.st_ino != b.st_ino) return false;
  }
  return true;
}

class Comparison {
 public:
  explicit Comparison(const std::function<absl::Status(const Change&)>& visit) : visit_(visit) {}

  // `left` is null where the left side has no such directory.
  absl::Status Directories(const MergedDir* left, const MergedDir& right, const std::string& path) {
    if (ancestors_.size() > kMaxDepth) return absl::ResourceExhaustedError("a tree is nested too deeply");
    std::vector<Node> old_nodes;
    if (left != nullptr) {
      if (SameLayers(*left, right)) return absl::OkStatus();
      GANTRY_ASSIGN_OR_RETURN(old_nodes, left->List());
    }
    GANTRY_ASSIGN_OR_RETURN(const std::vector<Node> new_nodes, right.List());
    auto before = old_nodes.begin();
    for (const Node& node : new_nodes) {
      for (; before != old_nodes.end() && before->name < node.name; ++before) {
        GANTRY_RETURN_IF_ERROR(Tell({Change::Kind::kRemoved, Join(path, before->name), nullptr}));
      }
      const Node* old = nullptr;
      if (before != old_nodes.end() && before->name == node.name) old = &*before++;
      GANTRY_RETURN_IF_ERROR(Names(left, old, right, node, Join(path, node.name)));
    }
    for (; before != old_nodes.end(); ++before) {
      GANTRY_RETURN_IF_ERROR(Tell({Change::Kind::kRemoved, Join(path, before->name), nullptr}));
    }
    return absl::OkStatus();
  }

 private:
  struct Ancestor {
    std::string path;
    const Node* node;
    bool told;
  };

  static std::string Join(const std::string& path, const std::string& name) {
    return path.empty() ? name : absl::StrCat(path, "/", name);
  }

  // The directories above a change come before it, changed or not.
  absl::Status Tell(const Change& change) {
    for (Ancestor& ancestor : ancestors_) {
      if (ancestor.told) continue;
      ancestor.told = true;
      GANTRY_RETURN_IF_ERROR(visit_({Change::Kind::kPresent, ancestor.path, ancestor.node}));
    }
    return visit_(change);
  }

  absl::Status Names(const MergedDir* left, const Node* old, const MergedDir& right, const Node& node,
                     const std::string& path) {
    const bool same_kind = old != nullptr && (old->st.st_mode & S_IFMT) == (node.st.st_mode & S_IFMT);
    bool same = false;
    if (same_kind) {
      GANTRY_ASSIGN_OR_RETURN(same, Same(*old, node));
    }
    if (!S_ISDIR(node.st.st_mode)) {
      if (!same) return Tell({Change::Kind::kPresent, path, &node});
      return node.st.st_nlink > 1 ? visit_({Change::Kind::kUnchanged, path, &node}) : absl::OkStatus();
    }
    if (!same) GANTRY_RETURN_IF_ERROR(Tell({Change::Kind::kPresent, path, &node}));
    std::unique_ptr<MergedDir> old_dir;
    if (same_kind) {
      GANTRY_ASSIGN_OR_RETURN(old_dir, left->Descend(*old));
    }
    GANTRY_ASSIGN_OR_RETURN(const std::unique_ptr<MergedDir> new_dir, right.Descend(node));
    ancestors_.push_back({path, &node, !same});
    GANTRY_RETURN_IF_ERROR(Directories(old_dir.get(), *new_dir, path));
    ancestors_.pop_back();
    return absl::OkStatus();
  }

  const std::function<absl::Status(const Change&)>& visit_;
  std::vector<Ancestor> ancestors_;
};

}  // namespace

absl::Status Compare(const MergedDir& left, const MergedDir& right,
                     const std::function<absl::Status(const Change&)>& visit) {
  return Comparison(visit).Directories(&left, right, "");
}

}  // namespace gantry::diff
