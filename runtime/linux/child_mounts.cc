// The child: mounts and the root.
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "runtime/linux/child.h"
#include "runtime/linux/copy_up.h"
#include "runtime/linux/in_root.h"

namespace gantry::linux {
namespace {

void CloseKeepingErrno(int fd) {
  const int saved = errno;
  close(fd);
  errno = saved;
}

int Configure(int fs, const plan::Param& param) {
  if (!param.value.has_value()) return fsconfig(fs, FSCONFIG_SET_FLAG, param.key.c_str(), nullptr, 0);
  return fsconfig(fs, FSCONFIG_SET_STRING, param.key.c_str(), param.value->c_str(), 0);
}

bool IsNull(const struct stat& st) { return S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3); }

}  // namespace

bool Child::ApplyAttr(int mount, const plan::MountAttr& attr, const char* subject) {
  if (p_.plan->remount) return Remount(mount, attr, subject);
  const auto change = [&](uint64_t set, uint64_t clear, uint64_t propagation, bool recursive) {
    if ((set | clear | propagation) == 0) return true;
    struct mount_attr change = {};
    change.attr_set = set;
    change.attr_clr = clear;
    change.propagation = propagation;
    const unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
    return mount_setattr(mount, "", flags, &change, sizeof change) == 0 || Fail("mount_setattr", subject);
  };
  const bool recursive = attr.propagation.recursive;
  return change(attr.recursive_set, attr.recursive_clear, recursive ? attr.propagation.value : 0, true) &&
         change(attr.set, attr.clear, recursive ? 0 : attr.propagation.value, false);
}

void Child::ForgetParent() {
  if (parent_ >= 0) CloseKeepingErrno(parent_);
  parent_ = -1;
}

int Child::OpenParent(const char* path, const char** name) {
  const char* slash = strrchr(path, '/');
  if (slash == nullptr || slash[1] == '\0') slash = path;  // nothing to be found again
  const auto size = static_cast<size_t>(slash - path);
  const bool dots = strcmp(slash + 1, ".") == 0 || strcmp(slash + 1, "..") == 0;
  if (parent_ >= 0 && size > 0 && size == parent_size_ && memcmp(path, parent_path_, size) == 0 && !dots) {
    *name = slash + 1;
    return parent_;
  }
  ForgetParent();
  parent_ = MakeParentInRoot(Root(), path, parent_path_, name);
  parent_size_ = size;
  return parent_;
}

int Child::OpenMountPoint(const char* path, bool* existed) {
  fresh_ = -1;
  *existed = false;
  const char* slash = strrchr(path, '/');
  const bool kept = slash != nullptr && parent_ >= 0 && static_cast<size_t>(slash - path) == parent_size_ &&
                    memcmp(path, parent_path_, parent_size_) == 0;
  if (!kept) {
    const int target = OpenInRoot(Root(), path, O_PATH | O_DIRECTORY);
    *existed = target >= 0;
    if (*existed || errno != ENOENT) return target;
  }
  const char* name;
  const int parent = OpenParent(path, &name);
  if (parent >= 0 && mkdirat(parent, name, 0755) == 0) {
    fresh_ = openat(parent, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fresh_;
  }
  const int target = OpenInRoot(Root(), path, O_PATH | O_DIRECTORY);
  *existed = target >= 0;
  return *existed || errno != ENOENT ? target : MakeDirectoryInRoot(Root(), path, 0755);
}

bool Child::Attach(int mount, int target, const char* destination) {
  // A mount may cover the directory that is kept, except on one that was just made below it.
  if (target != fresh_) ForgetParent();
  fresh_ = -1;
  if (move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) {
    return Fail("mount onto", destination);
  }
  return true;
}

bool Child::Do(const plan::OpenTree& op) {
  const unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (op.recursive ? AT_RECURSIVE : 0);
  const int tree = open_tree(AT_FDCWD, op.source.c_str(), flags);
  if (tree < 0) return Fail("open_tree", op.source.c_str());
  // Our own copy of the vector.
  const_cast<std::vector<int>&>(p_.slots)[static_cast<size_t>(op.slot)] = tree;
  return ApplyAttr(tree, op.attr, op.source.c_str());
}

bool Child::Do(const plan::SlaveMounts&) {
  if (mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0) return Fail("make / a slave");
  return true;
}

bool Child::Do(const plan::AttachRoot& op) {
  root_ = Slot(op.slot);
  if (move_mount(root_, "", AT_FDCWD, op.path.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0) {
    return Fail("mount the root onto", op.path.c_str());
  }
  return op.attr.empty() || ApplyAttr(root_, op.attr, op.path.c_str());
}

bool Child::Do(const plan::MountRootByPath& op) {
  if (mount(op.source.c_str(), op.path.c_str(), op.type.c_str(), op.flags, op.data.c_str()) != 0) {
    return Fail("mount the root onto", op.path.c_str());
  }
  root_ = open(op.path.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (root_ < 0) return Fail("open", op.path.c_str());
  Message message;
  message.kind = MessageKind::kRoot;
  errno = SendMessage(p_.sync, message, root_);
  return errno == 0 || Fail("send the root");
}

bool Child::Do(const plan::MountFilesystem& op) {
  const char* destination = op.destination.c_str();
  bool existed = false;
  const int target = OpenMountPoint(destination, &existed);
  if (target < 0) return Fail("mount point", destination);
  const int fs = fsopen(op.type.c_str(), FSOPEN_CLOEXEC);
  if (fs < 0) {
    CloseKeepingErrno(target);
    return Fail("fsopen", op.type.c_str());
  }
  bool ok = fsconfig(fs, FSCONFIG_SET_STRING, "source", op.source.c_str(), 0) == 0 ||
            FailMount("mount source", op.source.c_str(), fs);
  for (size_t i = 0; ok && i < op.params.size(); i++) {
    ok = Configure(fs, op.params[i]) == 0 || FailMount("mount option", op.params[i].key.c_str(), fs);
  }
  struct stat st;
  if (ok && existed && op.mode_of_destination && fstat(target, &st) == 0) {
    char mode[16];
    snprintf(mode, sizeof mode, "%o", st.st_mode & 07777);
    ok = fsconfig(fs, FSCONFIG_SET_STRING, "mode", mode, 0) == 0 || FailMount("mount option", "mode", fs);
  }
  ok = ok &&
       (fsconfig(fs, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0 || FailMount("mount", destination, fs));
  int mount = -1;
  if (ok) {
    // What is to be filled first becomes read-only last.
    uint64_t attributes = op.attr.set | op.attr.recursive_set;
    if (op.copy_up) attributes &= ~uint64_t{MOUNT_ATTR_RDONLY};
    mount = fsmount(fs, FSMOUNT_CLOEXEC, static_cast<unsigned>(attributes));
    ok = mount >= 0 || FailMount("fsmount", destination, fs);
  }
  plan::MountAttr rest;
  rest.propagation = op.attr.propagation;
  if (op.copy_up) rest.set = op.attr.set & MOUNT_ATTR_RDONLY;
  if (ok && op.copy_up && existed) {
    ok = CopyTree(target, mount) == 0 || Fail("tmpcopyup", destination);
  }
  ok = ok && Attach(mount, target, destination) && (rest.empty() || ApplyAttr(mount, rest, destination));
  close(fs);
  close(target);
  if (mount >= 0 && !(ok && op.keep && Keep(destination, mount))) close(mount);
  return ok;
}

bool Child::Do(const plan::AttachMount& op) {
  const int mount = Slot(op.slot);
  const char* destination = op.destination.c_str();
  struct stat st;
  if (fstat(mount, &st) != 0) return Fail("stat", op.source.c_str());
  bool existed = false;
  const int target =
      S_ISDIR(st.st_mode) ? OpenMountPoint(destination, &existed) : MakeFileInRoot(Root(), destination);
  if (target < 0) return Fail("mount point", destination);
  const bool ok =
      Attach(mount, target, destination) && (op.attr.empty() || ApplyAttr(mount, op.attr, destination));
  close(target);
  close(mount);
  return ok;
}

bool Child::Do(const plan::SetMountAttr& op) {
  const int target = OpenInRoot(Root(), op.destination.c_str(), O_PATH);
  if (target < 0) return Fail("open", op.destination.c_str());
  const bool ok = ApplyAttr(target, op.attr, op.destination.c_str());
  close(target);
  return ok;
}

bool Child::Keep(const char* destination, int mount) {
  for (auto& kept : kept_) {
    if (kept.mount >= 0) continue;
    kept = {destination, mount};
    return true;
  }
  return false;
}

int Child::OpenHidden(const plan::HiddenPath& hidden) {
  int mount = Root();
  size_t skip = 0;
  // The last of that destination is the one on top. A destination may end in slashes.
  for (const auto& kept : kept_) {
    if (hidden.in.empty() || kept.mount < 0 ||
        strncmp(kept.destination, hidden.in.c_str(), hidden.in.size()) != 0)
      continue;
    if (strspn(kept.destination + hidden.in.size(), "/") != strlen(kept.destination + hidden.in.size()))
      continue;
    mount = kept.mount;
    skip = hidden.in.size();
  }
  return OpenInRoot(mount, hidden.path.c_str() + skip, O_PATH);
}

bool Child::Do(const plan::MaskPath& op) {
  const char* path = op.hidden.path.c_str();
  const int target = OpenHidden(op.hidden);
  if (target < 0) return errno == ENOENT || errno == ENOTDIR || Fail("mask", path);
  struct stat st;
  if (fstat(target, &st) != 0) return Fail("stat", path);
  int mount = -1;
  if (S_ISDIR(st.st_mode)) {
    if (empty_ < 0) {
      const int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
      if (fs < 0) return Fail("fsopen", "tmpfs");
      if (fsconfig(fs, FSCONFIG_SET_STRING, "mode", "755", 0) != 0 ||
          fsconfig(fs, FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
        return FailMount("mount an empty tmpfs onto", path, fs);
      }
      empty_ = mount = fsmount(fs, FSMOUNT_CLOEXEC,
                               MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
      close(fs);
    } else {
      mount = open_tree(empty_, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    }
  } else {
    if (null_ < 0) {
      // Still the host's: the root has not been switched. The image's own /dev/null may be anything.
      null_ = open("/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC);
      if (null_ < 0 || fstat(null_, &st) != 0) return Fail("open", "/dev/null");
      if (!IsNull(st)) return FailAs(Failure::kOther, "mask", "the host's /dev/null is not the null device");
    }
    mount = open_tree(null_, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
  }
  if (mount < 0) return Fail("mask", path);
  const bool ok = Attach(mount, target, path);
  if (mount != empty_) close(mount);
  close(target);
  return ok;
}

bool Child::Do(const plan::ReadonlyPath& op) {
  const char* path = op.hidden.path.c_str();
  const int target = OpenHidden(op.hidden);
  if (target < 0) return errno == ENOENT || errno == ENOTDIR || Fail("read-only path", path);
  const int mount = open_tree(target, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
  if (mount < 0) return Fail("open_tree", path);
  plan::MountAttr attr;
  attr.recursive_set = MOUNT_ATTR_RDONLY;
  attr.propagation = {MS_PRIVATE, true};
  bool ok = true;
  if (p_.plan->remount) {
    // The mount alone, not the tree below it: mount(2) can do no more, nor did runtimes of that time.
    std::swap(attr.set, attr.recursive_set);
    ok = Attach(mount, target, path) && ApplyAttr(mount, attr, path);
  } else {
    ok = ApplyAttr(mount, attr, path) && Attach(mount, target, path);
  }
  close(mount);
  close(target);
  return ok;
}

bool Child::Do(const plan::SwitchRoot& op) {
  if (fchdir(Root()) != 0) return Fail("fchdir", "the root");
  if (op.pivot) {
    // pivot_root(2), "pivot_root(".", ".")": the old root ends up below the new one and goes without a name.
    if (syscall(SYS_pivot_root, ".", ".") != 0) return Fail("pivot_root");
    if (umount2(".", MNT_DETACH) != 0) return Fail("umount", "the old root");
  } else if (op.shared) {
    if (chroot(".") != 0) return Fail("chroot");
  } else {
    if (mount(".", "/", nullptr, MS_MOVE, nullptr) != 0) return Fail("move the root mount onto", "/");
    if (chroot(".") != 0) return Fail("chroot");
  }
  if (chdir("/") != 0) return Fail("chdir", "/");
  return true;
}

bool Child::Do(const plan::SetRootAttr& op) {
  plan::MountAttr attr;
  if (op.readonly) attr.set = MOUNT_ATTR_RDONLY;
  attr.propagation = op.propagation;
  return ApplyAttr(Root(), attr, "the root");
}

}  // namespace gantry::linux
