#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/cgroup/host.h"
#include "runtime/container/checkpoint.h"
#include "runtime/container/criu_common.h"
#include "runtime/container/internal.h"
#include "runtime/linux/host_bind.h"
#include "runtime/sys/file.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/status.h"

namespace gantry::container {
namespace {

constexpr size_t kMaxDescriptors = 1 << 20;
constexpr int kFirstFreeInCriu = 4;  // behind the standard streams and the socket

class Restoration {
 public:
  explicit Restoration(const RestoreOptions& options)
      : options_(options), create_(options.create), spec_(*options.create.spec) {}

  absl::StatusOr<Container> Run() {
    absl::Status status = Attempt();
    if (status.ok()) return std::move(container_);
    Undo();
    return status;
  }

 private:
  absl::Status Attempt();
  absl::Status Prepare(CriuOpts* opts);
  absl::Status AddNamespaces(CriuOpts* opts);
  absl::Status AddMounts(const std::string& rootfs, CriuOpts* opts);
  absl::Status AddDescriptors(CriuOpts* opts);
  absl::Status EnterCgroup(pid_t criu, CriuRequest& request);
  absl::Status Notified(const CriuResponse& response, std::vector<sys::UniqueFd> fds);
  absl::Status TakeProcess(pid_t pid);
  void Undo();

  const RestoreOptions& options_;
  const CreateOptions& create_;
  const oci::Spec& spec_;
  Container container_;
  CriuDirectories directories_;
  sys::UniqueFd console_;
  std::vector<sys::UniqueFd> kept_;       // namespaces that criu is given
  std::vector<std::pair<int, int>> fds_;  // what it has open
  std::string mount_point_;               // of the root
  std::optional<linux::HostBind> root_;
};

std::string RootfsOf(const CreateOptions& create) {
  const std::string& path = create.spec->root->path;
  return absl::StartsWith(path, "/") ? path : absl::StrCat(create.bundle, "/", path);
}

// criu restores what is in a tmpfs, mount points too.
bool IsOnTmpfs(const oci::Spec& spec, const std::string& path) {
  return std::any_of(spec.mounts.begin(), spec.mounts.end(), [&path](const oci::Mount& mount) {
    return mount.type == "tmpfs" && absl::StartsWith(path, absl::StrCat(mount.destination, "/"));
  });
}

absl::Status Restoration::AddNamespaces(CriuOpts* opts) {
  for (const oci::Namespace& entry : spec_.linux->namespaces) {
    if (entry.path.empty()) continue;
    if (entry.type == oci::NamespaceType::kNetwork || entry.type == oci::NamespaceType::kPid) {
      GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd fd, sys::OpenAt(AT_FDCWD, entry.path, O_RDONLY));
      const int number = kFirstFreeInCriu + static_cast<int>(kept_.size());
      opts->inherit_fd.emplace_back(ExternalNamespaceKey(entry.type), number);
      fds_.emplace_back(fd.get(), number);
      kept_.push_back(std::move(fd));
    } else if (entry.type == oci::NamespaceType::kCgroup || entry.type == oci::NamespaceType::kMount) {
      return absl::UnimplementedError(absl::StrCat(
          "criu cannot restore into the ", oci::NamespaceTypeName(entry.type), " namespace ", entry.path));
    } else {
      opts->join_ns.emplace_back(std::string(oci::NamespaceTypeName(entry.type)), entry.path);
    }
  }
  return absl::OkStatus();
}

absl::Status Restoration::AddMounts(const std::string& rootfs, CriuOpts* opts) {
  for (const oci::Mount& mount : spec_.mounts) {
    if (mount.type == "cgroup" || mount.type == "cgroup2" || IsOnTmpfs(spec_, mount.destination)) continue;
    linux::MountPoint point{mount.destination, true};
    struct stat st;
    const bool bind = mount.type == "bind" || mount.type == "none";
    if (bind && stat(mount.source.c_str(), &st) == 0) point.is_directory = S_ISDIR(st.st_mode);
    GANTRY_RETURN_IF_ERROR(linux::MakeMountPoint(rootfs, point));
  }
  for (const ExternalMount& mount : ExternalMounts(spec_, create_.bundle, container_.cgroup)) {
    opts->ext_mnt.emplace_back(mount.destination, mount.source);
  }
  if (!spec_.linux->masked_paths.empty()) opts->ext_mnt.emplace_back("/dev/null", "/dev/null");
  for (const oci::Device& device : spec_.linux->devices) opts->ext_mnt.emplace_back(device.path, device.path);
  return absl::OkStatus();
}

// The pipes that were the container's standard streams are ours from now on.
absl::Status Restoration::AddDescriptors(CriuOpts* opts) {
  const std::string path = absl::StrCat(options_.criu.image_path, "/", kDescriptorsFile);
  GANTRY_ASSIGN_OR_RETURN(const std::string text, sys::ReadFileAt(AT_FDCWD, path, kMaxDescriptors));
  GANTRY_ASSIGN_OR_RETURN(const std::vector<std::string> names, DescriptorsFromJson(text));
  for (size_t i = 0; i < names.size() && i < 3; i++) {
    if (absl::StartsWith(names[i], "pipe:")) opts->inherit_fd.emplace_back(names[i], static_cast<int>(i));
  }
  return absl::OkStatus();
}

absl::Status Restoration::Prepare(CriuOpts* opts) {
  GANTRY_ASSIGN_OR_RETURN(directories_,
                          PrepareCriu(options_.criu, spec_, "restore.log", /*make=*/false, opts));
  const bool terminal = spec_.process.has_value() && spec_.process->terminal;
  GANTRY_ASSIGN_OR_RETURN(
      console_, ConnectConsole(terminal, create_.console_socket, create_.terminal_allowed_without_socket));
  const int streams[] = {create_.stdio.in, create_.stdio.out, create_.stdio.err};
  for (int fd = 0; fd < 3; fd++) fds_.emplace_back(streams[fd] >= 0 ? streams[fd] : fd, fd);
  opts->evasive_devices = true;
  opts->rst_sibling = true;  // init becomes our child
  opts->lsm_profile = options_.lsm_profile;
  opts->lsm_mount_context = options_.lsm_mount_context;
  GANTRY_RETURN_IF_ERROR(AddNamespaces(opts));
  GANTRY_RETURN_IF_ERROR(AddDescriptors(opts));

  GANTRY_ASSIGN_OR_RETURN(const cgroup::Host host, cgroup::ProbeHost());
  const oci::Resources* resources = spec_.linux->resources.has_value() ? &*spec_.linux->resources : nullptr;
  GANTRY_ASSIGN_OR_RETURN(const cgroup::Plan plan,
                          cgroup::PlanCreate(host, {spec_.linux->cgroups_path, create_.id}, resources));
  GANTRY_ASSIGN_OR_RETURN(container_.cgroup, cgroup::Cgroup::Create(plan));

  const std::string rootfs = RootfsOf(create_);
  GANTRY_RETURN_IF_ERROR(AddMounts(rootfs, opts));
  mount_point_ = absl::StrCat(create_.state_dir, "/criu-root");
  if (mkdir(mount_point_.c_str(), 0755) != 0 && errno != EEXIST)
    return sys::ErrnoStatus("mkdir", mount_point_);
  auto bound = linux::HostBind::Make(rootfs, mount_point_);
  if (!bound.ok()) return bound.status();
  root_.emplace(*std::move(bound));
  opts->root = mount_point_;
  return absl::OkStatus();
}

// criu itself enters, so that what it restores is born there; and it is told that these are the container's.
absl::Status Restoration::EnterCgroup(pid_t criu, CriuRequest& request) {
  for (const cgroup::Directory& directory : container_.cgroup.directories()) {
    GANTRY_RETURN_IF_ERROR(
        sys::WriteControlFile(AT_FDCWD, directory.path + "/cgroup.procs", absl::StrCat(criu)));
    const std::string path = directory.path.substr(directory.mount_point.size());
    if (directory.version == 2) {
      request.opts.cg_root.emplace_back("", path);
      continue;
    }
    for (absl::string_view controller : absl::StrSplit(directory.controllers, ',')) {
      request.opts.cg_root.emplace_back(std::string(controller), path);
    }
  }
  return absl::OkStatus();
}

absl::Status Restoration::TakeProcess(pid_t pid) {
  if (container_.pid == pid) return absl::OkStatus();
  // Our child, not reaped: the pid is its.
  GANTRY_ASSIGN_OR_RETURN(container_.pidfd, sys::PidFd::Open(pid));
  container_.pid = pid;
  GANTRY_ASSIGN_OR_RETURN(container_.start_time, sys::ProcessStartTime(pid));
  return absl::OkStatus();
}

absl::Status Restoration::Notified(const CriuResponse& response, std::vector<sys::UniqueFd> fds) {
  if (response.notify_script == "setup-namespaces") {
    oci::State state;
    state.oci_version = spec_.oci_version;
    state.id = create_.id;
    state.status = oci::Status::kCreating;
    state.pid = response.pid;
    state.bundle = create_.bundle;
    state.annotations = spec_.annotations;
    GANTRY_RETURN_IF_ERROR(RunHooks(spec_.hooks.prestart, "prestart", state));
    return RunHooks(spec_.hooks.create_runtime, "createRuntime", state);
  }
  if (response.notify_script == "post-restore") return TakeProcess(response.pid);
  if (response.notify_script == "orphan-pts-master" && !fds.empty()) {
    if (console_) return sys::SendWithFds(console_.get(), "/dev/ptmx", {fds[0].get()});
    container_.pty_master = std::move(fds[0]);
  }
  return absl::OkStatus();
}

absl::Status Restoration::Attempt() {
  GANTRY_RETURN_IF_ERROR(CriuVersion(options_.criu.program).status());
  CriuCall call;
  call.program = options_.criu.program;
  call.request.type = CriuRequestType::kRestore;
  GANTRY_RETURN_IF_ERROR(Prepare(&call.request.opts));
  call.fds = fds_;
  call.log_path = directories_.log_path;
  call.spawned = [this](pid_t criu, CriuRequest& request) { return EnterCgroup(criu, request); };
  call.notify = [this](const CriuResponse& response, std::vector<sys::UniqueFd> fds) {
    return Notified(response, std::move(fds));
  };
  GANTRY_ASSIGN_OR_RETURN(const CriuResponse response, CallCriu(call));
  if (response.pid > 0) GANTRY_RETURN_IF_ERROR(TakeProcess(response.pid));
  if (container_.pid == 0) return absl::InternalError("criu restored no process");
  root_.reset();
  rmdir(mount_point_.c_str());
  return absl::OkStatus();
}

void Restoration::Undo() {
  if (container_.pidfd.valid()) {
    container_.pidfd.Signal(SIGKILL).IgnoreError();
    container_.pidfd.Reap(sys::PidFd::Block::kWait).status().IgnoreError();
  }
  if (!container_.cgroup.empty()) {
    container_.cgroup.KillAll(SIGKILL).IgnoreError();
    container_.cgroup.Delete().IgnoreError();
  }
  root_.reset();
  if (!mount_point_.empty()) rmdir(mount_point_.c_str());
}

}  // namespace

absl::StatusOr<Container> Restore(const RestoreOptions& options) {
  const CreateOptions& create = options.create;
  if (create.spec == nullptr || !create.spec->linux.has_value() || !create.spec->root.has_value()) {
    return absl::InvalidArgumentError("restore needs a configuration with root and linux");
  }
  if (create.systemd_cgroup) {
    return absl::UnimplementedError(
        "restore into a cgroup of systemd is not supported; use the cgroupfs driver");
  }
  return Restoration(options).Run();
}

}  // namespace gantry::container
