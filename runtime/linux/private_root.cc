#include "runtime/linux/private_root.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/linux/in_root.h"
#include "runtime/plan/mount_options.h"
#include "runtime/plan/overlay.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount_api.h"
#include "runtime/sys/status.h"

namespace gantry::linux {
namespace {

// Where the mount that holds `path` (resolved) is mounted.
std::string MountPointOf(std::string path) {
  while (path.size() > 1) {
    struct statx info;
    const bool known = statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_INO, &info) == 0;
    if (known && (info.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0) return path;
    path.resize(path.rfind('/'));
  }
  return "/";
}

absl::Status LeaveHostNamespace(const std::string& target) {
  if (unshare(CLONE_NEWNS) != 0) return sys::ErrnoStatus("unshare", "CLONE_NEWNS");
  const std::unique_ptr<char, decltype(&free)> resolved(realpath(target.c_str(), nullptr), free);
  if (resolved == nullptr) return sys::ErrnoStatus("realpath", target);
  const std::string point = MountPointOf(resolved.get());
  if (mount(nullptr, point.c_str(), nullptr, MS_SLAVE, nullptr) != 0) {
    return sys::ErrnoStatus("mount", absl::StrCat("rslave ", point));
  }
  return absl::OkStatus();
}

absl::StatusOr<sys::DetachedMount> NewFilesystem(const plan::RootfsMount& mount,
                                                 const plan::MountOptions& options) {
  std::vector<plan::Param> params = options.params;
  if (mount.type == "overlay") {
    std::vector<plan::Param> split;
    if (!plan::SplitOverlay(params, &split)) {
      return absl::InvalidArgumentError("these layers can only be said in one option");
    }
    params = std::move(split);
  }
  std::vector<sys::DetachedMount::Parameter> parameters;
  for (const plan::Param& param : params) {
    parameters.push_back({param.key.c_str(), param.value.has_value() ? param.value->c_str() : nullptr});
  }
  return sys::DetachedMount::NewFilesystem(mount.type, mount.source, parameters, options.attr.set);
}

absl::StatusOr<sys::DetachedMount> Bind(const plan::RootfsMount& rootfs, const plan::MountOptions& options) {
  GANTRY_ASSIGN_OR_RETURN(sys::DetachedMount copy,
                          sys::DetachedMount::Copy(AT_FDCWD, rootfs.source, options.recursive_bind));
  sys::DetachedMount::Attributes change;
  change.set = options.attr.set;
  change.clear = options.attr.clear;
  GANTRY_RETURN_IF_ERROR(copy.SetAttributes(change));
  sys::DetachedMount::Attributes below;
  below.set = options.attr.recursive_set;
  below.clear = options.attr.recursive_clear;
  below.propagation = MS_PRIVATE;
  below.recursive = true;
  GANTRY_RETURN_IF_ERROR(copy.SetAttributes(below));
  return copy;
}

// `root` is invalid for the first mount, which goes to `target`.
absl::StatusOr<sys::UniqueFd> MountOne(const plan::RootfsMount& rootfs, const std::string& target, int root) {
  GANTRY_ASSIGN_OR_RETURN(const plan::MountOptions options, plan::ParseMountOptions(rootfs.options));
  sys::UniqueFd place;
  if (root < 0) {
    GANTRY_ASSIGN_OR_RETURN(place, sys::OpenAt(AT_FDCWD, target, O_PATH | O_DIRECTORY));
  } else {
    place.reset(OpenInRoot(root, rootfs.target.c_str(), O_PATH));
    if (!place) return sys::ErrnoStatus("open", rootfs.target);
  }
  const bool bind = options.bind || rootfs.type == "bind";
  absl::StatusOr<sys::DetachedMount> made = bind ? Bind(rootfs, options) : NewFilesystem(rootfs, options);
  if (!made.ok() && root < 0 && rootfs.type == "overlay") {
    // A kernel before lowerdir+ (6.5), or options that fsconfig cannot take.
    if (mount(rootfs.source.c_str(), target.c_str(), "overlay", plan::MountFlags(options.attr),
              plan::MountData(options.params).c_str()) != 0) {
      return sys::ErrnoStatus("mount overlay", target);
    }
    return sys::OpenAt(AT_FDCWD, target, O_PATH | O_DIRECTORY);
  }
  GANTRY_RETURN_IF_ERROR(made.status());
  GANTRY_RETURN_IF_ERROR(made->AttachTo(place.get()));
  return made->release();
}

}  // namespace

absl::StatusOr<sys::UniqueFd> MountRootPrivately(const std::vector<plan::RootfsMount>& mounts,
                                                 const std::string& target) {
  GANTRY_RETURN_IF_ERROR(LeaveHostNamespace(target));
  sys::UniqueFd root;
  for (const plan::RootfsMount& mount : mounts) {
    absl::StatusOr<sys::UniqueFd> fd = MountOne(mount, target, root.get());
    if (!fd.ok()) return sys::Annotate(fd.status(), "rootfs");
    if (!root.valid()) root = *std::move(fd);
  }
  return root;
}

}  // namespace gantry::linux
