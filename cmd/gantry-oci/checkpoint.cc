// checkpoint and restore.
#include "runtime/container/checkpoint.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "cmd/gantry-oci/context.h"
#include "cmd/gantry-oci/creation.h"
#include "cmd/gantry-oci/foreground.h"
#include "runtime/sys/status.h"

namespace gantry::oci_cli {
namespace {

absl::StatusOr<container::CriuSettings> ReadSettings(const Context& context, const Arguments& arguments) {
  if (arguments.Has("lazy-pages") || arguments.Has("status-fd")) {
    return absl::UnimplementedError(
        "--lazy-pages is not supported: memory is always written and read as a whole; leave it out");
  }
  for (const std::string& name : arguments.All("empty-ns")) {
    if (name != "network") {
      return absl::InvalidArgumentError(
          absl::StrCat("--empty-ns \"", name, "\": only network can be restored empty (and always is)"));
    }
  }
  container::CriuSettings settings;
  settings.program = context.criu;
  GANTRY_ASSIGN_OR_RETURN(settings.image_path, Absolute(arguments.Find("image-path").value_or("checkpoint")));
  if (!arguments.Get("work-path").empty()) {
    GANTRY_ASSIGN_OR_RETURN(settings.work_path, Absolute(arguments.Get("work-path")));
  }
  settings.manage_cgroups_mode = arguments.Get("manage-cgroups-mode");
  settings.tcp_established = arguments.Has("tcp-established");
  settings.ext_unix_sk = arguments.Has("ext-unix-sk");
  settings.shell_job = arguments.Has("shell-job");
  settings.file_locks = arguments.Has("file-locks");
  settings.auto_dedup = arguments.Has("auto-dedup");
  return settings;
}

}  // namespace

Result Checkpoint(const Context& context, const Arguments& arguments) {
  GANTRY_ASSIGN_OR_RETURN(const Loaded container, Load(context, arguments.positional()[0]));
  if (container.status != oci::Status::kRunning && container.status != oci::Status::kPaused) {
    return absl::FailedPreconditionError(absl::StrCat("container \"", container.saved.id, "\" is ",
                                                      oci::StatusName(container.status),
                                                      ": only a running container can be checkpointed"));
  }
  GANTRY_ASSIGN_OR_RETURN(const oci::Spec spec, LoadSpec(container));
  container::CheckpointOptions options;
  GANTRY_ASSIGN_OR_RETURN(options.criu, ReadSettings(context, arguments));
  options.spec = &spec;
  options.rootfs = container.saved.rootfs;
  options.pid = container.saved.pid;
  options.cgroup = container.group();
  options.parent_path = arguments.Get("parent-path");
  options.leave_running = arguments.Has("leave-running");
  options.pre_dump = arguments.Has("pre-dump");
  options.tcp_skip_in_flight = arguments.Has("tcp-skip-in-flight");
  options.link_remap = arguments.Has("link-remap");
  options.page_server = arguments.Get("page-server");
  GANTRY_RETURN_IF_ERROR(container::Checkpoint(options));
  if (options.leave_running || options.pre_dump) return 0;
  // Its processes are gone: what is left of it goes too, as with runc.
  if (absl::Status removed = Remove(context, container, true); !removed.ok()) context.Warn(removed.message());
  return 0;
}

Result Restore(const Context& context, const Arguments& arguments) {
  const bool detach = arguments.Has("detach");
  GANTRY_ASSIGN_OR_RETURN(const Creation creation, ReadBundle(arguments));
  GANTRY_RETURN_IF_ERROR(CheckTerminal(creation, arguments, !detach));
  container::RestoreOptions options;
  GANTRY_ASSIGN_OR_RETURN(options.criu, ReadSettings(context, arguments));
  options.lsm_profile = arguments.Get("lsm-profile");
  options.lsm_mount_context = arguments.Get("lsm-mount-context");
  std::optional<Foreground> foreground;
  if (!detach) foreground.emplace(!arguments.Has("no-subreaper"));
  auto dir = container::StateDir::Make(context.root, creation.id);
  if (!dir.ok()) return dir.status();
  options.create.id = creation.id;
  options.create.bundle = creation.bundle;
  options.create.spec = &creation.spec;
  options.create.console_socket = arguments.Get("console-socket");
  options.create.systemd_cgroup = context.systemd_cgroup;
  options.create.state_dir = dir->path();
  absl::Status status = dir->SaveConfig(creation.config);
  auto restored = status.ok() ? container::Restore(options) : absl::StatusOr<container::Container>(status);
  if (!restored.ok()) {
    dir->Remove().IgnoreError();
    return restored.status();
  }
  const Loaded container{*dir, StateOf(creation, *restored), oci::Status::kRunning};
  status = dir->Save(container.saved);
  if (status.ok() && arguments.Has("pid-file"))
    status = WritePidFile(arguments.Get("pid-file"), restored->pid);
  if (!status.ok()) {
    Remove(context, container, true).IgnoreError();
    return status;
  }
  if (!foreground.has_value()) return 0;
  if (restored->pty_master.valid())
    foreground->ConnectTerminal(std::move(restored->pty_master), creation.spec.process->console_size);
  Result code = foreground->Wait(restored->pid, restored->pidfd);
  GANTRY_RETURN_IF_ERROR(Remove(context, container, true));
  return code;
}

}  // namespace gantry::oci_cli
