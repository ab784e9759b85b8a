#include <fcntl.h>

#include <csignal>

#include "absl/strings/str_cat.h"
#include "runtime/container/container.h"
#include "runtime/linux/mount_visit.h"
#include "runtime/linux/resctrl.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::container {
namespace {

// Whether init still runs; false also when it is a zombie, which only its parent can remove.
bool Lives(const DeleteOptions& options, const sys::PidFd& pidfd) {
  return options.pid > 0 && pidfd.valid() && !pidfd.Exited();
}

absl::Status KillInit(const DeleteOptions& options, const sys::PidFd& pidfd, const sys::Deadline& deadline) {
  if (!options.kill) {
    return absl::FailedPreconditionError(
        absl::StrCat("the container runs (pid ", options.pid, "): kill it first, or delete it by force"));
  }
  if (absl::Status status = pidfd.Signal(SIGKILL); !status.ok() && sys::ErrnoOf(status) != ESRCH)
    return status;
  // A frozen process takes even SIGKILL only when it is thawed (v1).
  if (auto state = options.cgroup.Freezer(); state.ok() && *state != cgroup::FreezerState::kThawed) {
    GANTRY_RETURN_IF_ERROR(options.cgroup.Thaw());
  }
  if (!pidfd.WaitExited(deadline.Left())) {
    return absl::DeadlineExceededError(absl::StrCat("pid ", options.pid, " does not end after SIGKILL"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Delete(const DeleteOptions& options) {
  const sys::Deadline deadline = sys::Deadline::After(options.timeout);
  sys::PidFd pidfd;
  if (options.pidfd >= 0) {
    const int copy = fcntl(options.pidfd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return sys::ErrnoStatus("fcntl", "F_DUPFD_CLOEXEC");
    pidfd = sys::PidFd(sys::UniqueFd(copy));
  } else if (options.pid > 0) {
    auto opened = sys::PidFd::Open(options.pid);
    if (opened.ok()) {
      pidfd = *std::move(opened);
    } else if (sys::ErrnoOf(opened.status()) != ESRCH) {
      return opened.status();
    }
  }
  if (Lives(options, pidfd)) GANTRY_RETURN_IF_ERROR(KillInit(options, pidfd, deadline));
  if (options.cgroup.empty()) return absl::OkStatus();
  if (options.cgroup.DeleteIfEmpty()) return absl::OkStatus();
  // Without a pid namespace of its own init leaves processes behind.
  GANTRY_RETURN_IF_ERROR(options.cgroup.KillAll(SIGKILL));
  return options.cgroup.Delete(deadline.Left());
}

namespace {

const oci::Namespace* JoinedMounts(const oci::Spec& spec) {
  if (!spec.linux.has_value()) return nullptr;
  const oci::Namespace* mounts = spec.linux->FindNamespace(oci::NamespaceType::kMount);
  return mounts == nullptr || mounts->path.empty() ? nullptr : mounts;
}

}  // namespace

absl::Status ReleaseJoinedRoot(const oci::Spec& spec, const std::string& rootfs, uint64_t root_mount_id) {
  const oci::Namespace* mounts = JoinedMounts(spec);
  if (mounts == nullptr || root_mount_id == 0) return absl::OkStatus();
  auto fd = sys::OpenAt(AT_FDCWD, mounts->path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
  if (!fd.ok()) return absl::OkStatus();  // it has gone, and the mounts with it
  return linux::UnmountIn(fd->get(), rootfs, root_mount_id);
}

absl::Status UpdateResctrl(const oci::Spec& spec, const std::string& id,
                           const std::vector<std::string>& lines) {
  if (!spec.linux.has_value() || !spec.linux->intel_rdt.has_value()) {
    return absl::FailedPreconditionError(
        "the container has no resource control group: it was created without linux.intelRdt");
  }
  for (const std::string& line : lines) {
    if (line.find('\n') != std::string::npos)
      return absl::InvalidArgumentError("a schema must be a single line");
  }
  GANTRY_ASSIGN_OR_RETURN(const std::string root, linux::FindResctrl());
  plan::OpenResctrlGroup write;
  write.group = plan::ResctrlGroup(*spec.linux->intel_rdt, id);
  write.schemata = lines;
  std::vector<std::string> made;
  return linux::OpenResctrlGroup(root, write, &made);
}

absl::Status ReleaseResctrl(const oci::Spec& spec, const std::string& id) {
  if (!spec.linux.has_value()) return absl::OkStatus();
  std::vector<std::string> groups = plan::OwnResctrlGroups(*spec.linux, id);
  if (groups.empty()) return absl::OkStatus();
  auto root = linux::FindResctrl();
  if (!root.ok()) return absl::OkStatus();  // unmounted since: nothing of it is left
  for (std::string& group : groups) group = absl::StrCat(*root, "/", group);
  return linux::RemoveResctrlGroups(groups);
}

}  // namespace gantry::container
