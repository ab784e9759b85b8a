// The child: device nodes, links, the terminal, standard streams.
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "runtime/linux/child.h"
#include "runtime/linux/in_root.h"

namespace gantry::linux {
namespace {

mode_t FileType(char type) {
  if (type == 'b') return S_IFBLK;
  return type == 'p' ? S_IFIFO : S_IFCHR;
}

// Whether `fd` is the multiplexer of a real devpts, and not something an image calls so.
bool IsPtmx(int fd) {
  struct stat st;
  struct statfs fs;
  return fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(5, 2) && fstatfs(fd, &fs) == 0 &&
         fs.f_type == DEVPTS_SUPER_MAGIC;
}

}  // namespace

bool Child::Do(const plan::MakeSymlink& op) {
  const char* name;
  const int parent = OpenParent(op.path.c_str(), &name);
  if (parent < 0) return Fail("symlink", op.path.c_str());
  if (op.replace) unlinkat(parent, name, 0);
  const bool ok = symlinkat(op.target.c_str(), parent, name) == 0 || errno == EEXIST || errno == EROFS;
  return ok || Fail("symlink", op.path.c_str());
}

bool Child::Do(const plan::MakeDevice& op) {
  const char* name;
  const char* path = op.path.c_str();
  const int parent = OpenParent(path, &name);
  if (parent < 0) return Fail("device", path);
  const mode_t type = FileType(op.type);
  const dev_t number = op.type == 'p' ? 0 : makedev(op.major, op.minor);
  bool ok = mknodat(parent, name, type | op.mode, number) == 0;
  if (!ok && errno == EEXIST) {
    // config-linux.md: what is there must be the device that was asked for.
    struct stat st;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || (st.st_mode & S_IFMT) != type ||
        (type != S_IFIFO && st.st_rdev != number)) {
      return FailAs(Failure::kOther, "a different file is where a device must be made", path);
    }
    ok = true;
  }
  ok = ok || Fail("mknod", path);
  // Root's own is what mknod gave: no call for the usual case.
  ok = ok && ((op.uid == 0 && op.gid == 0) ||
              fchownat(parent, name, op.uid, op.gid, AT_SYMLINK_NOFOLLOW) == 0 || Fail("chown", path));
  // After a chown the mode is set again: the kernel takes the set-id bits away.
  ok = ok && ((op.uid == 0 && op.gid == 0) || fchmodat(parent, name, op.mode, 0) == 0 || Fail("chmod", path));
  return ok;
}

bool Child::Do(const plan::OpenTerminal& op) {
  int master = OpenInRoot(root_, "/dev/pts/ptmx", O_RDWR | O_NOCTTY);
  if (master < 0) return Fail("open the terminal at", "/dev/pts/ptmx");
  if (!IsPtmx(master)) {
    return FailAs(Failure::kOther, "a terminal needs a devpts file system", "mount one on /dev/pts");
  }
  int unlock = 0;
  if (ioctl(master, TIOCSPTLCK, &unlock) != 0) return Fail("TIOCSPTLCK");
  terminal_ = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (terminal_ < 0) return Fail("TIOCGPTPEER");
  if (op.rows != 0 || op.columns != 0) {
    struct winsize size = {};
    size.ws_row = static_cast<unsigned short>(op.rows);
    size.ws_col = static_cast<unsigned short>(op.columns);
    if (ioctl(master, TIOCSWINSZ, &size) != 0) return Fail("TIOCSWINSZ");
  }
  if (fchown(terminal_, op.uid, static_cast<gid_t>(-1)) != 0 && errno != EPERM && errno != EINVAL) {
    return Fail("chown", "the terminal");
  }
  if (op.console && !BindConsole(terminal_)) return false;
  if (ioctl(terminal_, TIOCSCTTY, 0) != 0) return Fail("TIOCSCTTY");
  Message message;
  message.kind = MessageKind::kTerminal;
  unsigned number = 0;
  if (ioctl(master, TIOCGPTN, &number) == 0)
    snprintf(message.detail, sizeof message.detail, "/dev/pts/%u", number);
  errno = SendMessage(p_.sync, message, master);
  close(master);
  return errno == 0 || Fail("send the terminal");
}

// The slave over /dev/console: by its descriptor, as the name /dev/pts/N may be the image's. A symlink of that
// name is replaced, never followed.
bool Child::BindConsole(int slave) {
  char buffer[PATH_MAX];
  const char* name;
  const int parent = MakeParentInRoot(Root(), "/dev/console", buffer, &name);
  if (parent < 0) return Fail("mount point", "/dev/console");
  struct stat st;
  if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode)) unlinkat(parent, name, 0);
  const int made = openat(parent, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0620);
  if (made >= 0) close(made);
  const int target = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  const int mount = open_tree(slave, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
  bool ok = target >= 0 && mount >= 0;
  if (!ok) {
    Fail("bind the terminal to", "/dev/console");
  } else {
    ok = Attach(mount, target, "/dev/console");
  }
  if (mount >= 0) close(mount);
  if (target >= 0) close(target);
  close(parent);
  return ok;
}

bool Child::Do(const plan::SetStdio& op) {
  bool in_place = terminal_ < 0;
  // Open, and not to be closed by execve: they stay as they are.
  for (int i = 0; i < 3; i++) in_place = in_place && p_.stdio[i] == i && fcntl(i, F_GETFD) == 0;
  int fds[3];
  for (int i = 0; i < 3 && !in_place; i++) {
    // Above 2 first: one of ours may be 0, 1 or 2 in another place.
    fds[i] = fcntl(terminal_ >= 0 ? terminal_ : p_.stdio[i], F_DUPFD_CLOEXEC, 3);
    if (fds[i] < 0) return Fail("standard streams");
  }
  for (int i = 0; i < 3; i++) {
    if (!in_place) {
      if (dup2(fds[i], i) < 0) return Fail("standard streams");
      close(fds[i]);
    }
    struct stat st;
    // The user must be able to open /dev/stdout again. The null device is everybody's.
    if (terminal_ < 0 && fstat(i, &st) == 0 && st.st_uid != op.uid && !S_ISCHR(st.st_mode)) {
      if (fchown(i, op.uid, static_cast<gid_t>(-1)) != 0 && errno != EPERM && errno != EINVAL &&
          errno != EROFS) {
        Warn("chown of a standard stream", "", errno);
      }
    }
  }
  if (terminal_ >= 0) close(terminal_);
  terminal_ = -1;
  return true;
}

}  // namespace gantry::linux
