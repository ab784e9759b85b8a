#include "runtime/sys/mount_api.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "runtime/sys/status.h"

namespace gantry::sys {
namespace {

absl::Status LoggedStatus(const char* call, const std::string& subject, int fs_fd) {
  const int error = errno;
  char text[256];
  const size_t size = ReadMountLog(fs_fd, text, sizeof text);
  absl::Status status = ErrnoStatus(call, subject, error);
  if (size == 0) return status;
  return Annotate(status, absl::string_view(text, size));
}

}  // namespace

size_t ReadMountLog(int fs_fd, char* buffer, size_t size) {
  // One line per read: "e overlay: ...", the first letter being its severity.
  size_t kept = 0;
  char line[256];
  for (int i = 0; i < 16; i++) {
    const ssize_t n = read(fs_fd, line, sizeof line);
    if (n <= 2) break;
    if (line[0] != 'e' && kept != 0) continue;
    kept = static_cast<size_t>(n) - 2;
    if (kept > size) kept = size;
    memcpy(buffer, line + 2, kept);
    while (kept > 0 && buffer[kept - 1] == '\n') kept--;
  }
  return kept;
}

absl::StatusOr<DetachedMount> DetachedMount::NewFilesystem(const std::string& type, const std::string& source,
                                                           absl::Span<const Parameter> parameters,
                                                           uint64_t attributes) {
  UniqueFd fs(fsopen(type.c_str(), FSOPEN_CLOEXEC));
  if (!fs) return ErrnoStatus("fsopen", type);
  if (!source.empty() && fsconfig(fs.get(), FSCONFIG_SET_STRING, "source", source.c_str(), 0) != 0) {
    return LoggedStatus("fsconfig", absl::StrCat(type, " source ", source), fs.get());
  }
  for (const Parameter& parameter : parameters) {
    const unsigned command = parameter.value == nullptr ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING;
    if (fsconfig(fs.get(), command, parameter.key, parameter.value, 0) != 0) {
      const char* value = parameter.value == nullptr ? "" : parameter.value;
      return LoggedStatus("fsconfig", absl::StrCat(type, " ", parameter.key, "=", value), fs.get());
    }
  }
  if (fsconfig(fs.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
    return LoggedStatus("mount", absl::StrCat(type, source.empty() ? "" : " of ", source), fs.get());
  }
  UniqueFd mount(fsmount(fs.get(), FSMOUNT_CLOEXEC, static_cast<unsigned>(attributes)));
  if (!mount) return LoggedStatus("fsmount", type, fs.get());
  return DetachedMount(std::move(mount));
}

absl::StatusOr<DetachedMount> DetachedMount::Copy(int dirfd, const std::string& path, bool recursive) {
  unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC;
  if (recursive) flags |= AT_RECURSIVE;
  if (path.empty()) flags |= AT_EMPTY_PATH;
  UniqueFd fd(open_tree(dirfd, path.c_str(), flags));
  if (!fd) return ErrnoStatus("open_tree", path);
  return DetachedMount(std::move(fd));
}

absl::Status DetachedMount::SetAttributes(const Attributes& attributes) const {
  struct mount_attr attr = {};
  attr.attr_set = attributes.set;
  attr.attr_clr = attributes.clear;
  attr.propagation = attributes.propagation;
  if (attributes.user_namespace >= 0) {
    attr.attr_set |= MOUNT_ATTR_IDMAP;
    attr.userns_fd = static_cast<uint64_t>(attributes.user_namespace);
  }
  const unsigned flags = AT_EMPTY_PATH | (attributes.recursive ? AT_RECURSIVE : 0);
  if (mount_setattr(fd_.get(), "", flags, &attr, sizeof attr) != 0) return ErrnoStatus("mount_setattr", "");
  return absl::OkStatus();
}

absl::Status DetachedMount::AttachTo(int target_fd) const {
  if (move_mount(fd_.get(), "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0) {
    return ErrnoStatus("move_mount", "");
  }
  return absl::OkStatus();
}

// An empty argument is EINVAL to those who know the call.
bool HasMountSetattr() { return mount_setattr(-1, "", 0, nullptr, 0) == 0 || errno != ENOSYS; }

}  // namespace gantry::sys
