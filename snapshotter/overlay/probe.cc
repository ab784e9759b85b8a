#include "snapshotter/overlay/probe.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::snapshotter {
namespace {

// The kernel's own words about the last failure on a file system context (fsopen(2), "Message retrieval").
std::string KernelMessage(int context) {
  char text[1024];
  const ssize_t size = ::read(context, text, sizeof text);
  return size > 0 ? absl::StrCat(" (kernel: ", absl::string_view(text, static_cast<size_t>(size)), ")") : "";
}

absl::Status TryMount(const std::string& root, const std::string& scratch, bool user_xattrs) {
  const sys::UniqueFd context(static_cast<int>(::syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC)));
  if (!context.valid()) {
    const std::string why = sys::ErrnoStatus("fsopen", "overlay").ToString();
    return absl::FailedPreconditionError(
        absl::StrCat("this kernel has no overlayfs (", why,
                     "): load its module with \"modprobe overlay\", or use the snapshotter native"));
  }
  const std::string lower = scratch + "/lower", upper = scratch + "/upper", work = scratch + "/work";
  const std::pair<const char*, const std::string*> settings[] = {
      {"lowerdir", &lower}, {"upperdir", &upper}, {"workdir", &work}};
  bool ok = true;
  for (const auto& [key, value] : settings) {
    ok = ok && ::syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_STRING, key, value->c_str(), 0) == 0;
  }
  if (user_xattrs) {
    ok = ok && ::syscall(SYS_fsconfig, context.get(), FSCONFIG_SET_FLAG, "userxattr", nullptr, 0) == 0;
  }
  ok = ok && ::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) == 0;
  if (ok) return absl::OkStatus();
  const std::string why = sys::ErrnoStatus("fsconfig", "overlay").ToString();
  return absl::FailedPreconditionError(absl::StrCat(
      "overlayfs does not work on the file system of ", root, ": ", why, KernelMessage(context.get()),
      "; put the root on ext4, xfs or tmpfs, or use the snapshotter native"));
}

}  // namespace

absl::StatusOr<OverlayFeatures> ProbeOverlay(const std::string& root) {
  const std::string scratch = root + "/probe";
  GANTRY_RETURN_IF_ERROR(sys::RemoveAllAt(AT_FDCWD, scratch));
  for (const char* name : {"/lower", "/upper", "/work"}) {
    GANTRY_RETURN_IF_ERROR(sys::MkdirAll(scratch + name, 0700));
  }
  const absl::Cleanup clean = [&scratch] { (void)sys::RemoveAllAt(AT_FDCWD, scratch); };
  OverlayFeatures features;
  // Only init's user namespace may set trusted.* (xattr(7)).
  features.user_xattrs =
      ::setxattr((scratch + "/upper").c_str(), "trusted.gantry.probe", "y", 1, 0) != 0 && errno == EPERM;
  struct stat st;
  GANTRY_RETURN_IF_ERROR(TryMount(root, scratch, features.user_xattrs));
  features.index_option = ::stat("/sys/module/overlay/parameters/index", &st) == 0;
  return features;
}

}  // namespace gantry::snapshotter
