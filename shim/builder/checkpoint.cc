#include "shim/builder/checkpoint.h"

#include <fcntl.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/container/checkpoint.h"
#include "runtime/linux/private_root.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"
#include "shim/builder/fork.h"

namespace gantry::shim {
namespace {

std::string ProgramOr(const std::string& criu) { return criu.empty() ? "criu" : criu; }

std::string RootOf(const oci::Spec& spec, const std::string& bundle) {
  const std::string path = spec.root.has_value() ? spec.root->path : "rootfs";
  return absl::StartsWith(path, "/") ? path : absl::StrCat(bundle, "/", path);
}

absl::Status CheckpointHere(const EngineTarget& target, const CheckpointJob& job) {
  for (const std::string& name : job.empty_namespaces) {
    if (name != "network") {
      return absl::InvalidArgumentError(
          absl::StrCat("empty_namespaces \"", name, "\": only network can be restored empty, and always is"));
    }
  }
  GANTRY_ASSIGN_OR_RETURN(const oci::Spec spec, ReadSpec(target.bundle));
  container::CheckpointOptions options;
  options.criu.program = ProgramOr(job.criu);
  options.criu.image_path = job.image_path;
  options.criu.work_path = CriuWorkPath(job.work_path, target.bundle);
  options.criu.manage_cgroups_mode = job.cgroups_mode;
  options.criu.tcp_established = job.open_tcp;
  options.criu.ext_unix_sk = job.external_unix_sockets;
  options.criu.shell_job = job.terminal;
  options.criu.file_locks = job.file_locks;
  options.spec = &spec;
  options.rootfs = RootOf(spec, target.bundle);
  options.pid = target.pid;
  options.cgroup = target.cgroup;
  options.parent_path = job.parent_path;
  options.leave_running = job.leave_running;
  GANTRY_RETURN_IF_ERROR(container::Checkpoint(options));
  if (job.work_path.empty()) sys::RemoveAllAt(AT_FDCWD, options.criu.work_path).IgnoreError();
  return absl::OkStatus();
}

}  // namespace

std::string CriuWorkPath(const std::string& given, const std::string& bundle) {
  return given.empty() ? absl::StrCat(bundle, "/criu-work") : given;
}

Engine::Job StartCheckpoint(const EngineTarget& target, const CheckpointJob& job) {
  return RunForked({}, [&](int socket) { SendStatus(socket, CheckpointHere(target, job)); });
}

absl::StatusOr<container::Container> RestoreHere(const CreateJob& job,
                                                 const container::CreateOptions& options) {
  container::RestoreOptions restore;
  restore.criu.program = ProgramOr(job.criu);
  restore.criu.image_path = job.checkpoint;
  restore.criu.work_path = CriuWorkPath(job.criu_work_path, job.bundle);
  restore.create = options;
  restore.create.state_dir = job.bundle;
  sys::UniqueFd root;
  if (!job.rootfs.empty()) {
    GANTRY_ASSIGN_OR_RETURN(root, linux::MountRootPrivately(job.rootfs, RootOf(*options.spec, job.bundle)));
  }
  GANTRY_ASSIGN_OR_RETURN(container::Container container, container::Restore(restore));
  container.root_mount = std::move(root);
  return container;
}

}  // namespace gantry::shim
