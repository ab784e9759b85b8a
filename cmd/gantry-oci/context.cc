#include "cmd/gantry-oci/context.h"

#include <fcntl.h>
#include <limits.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "runtime/oci/json_writer.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::oci_cli {
namespace {

// One line that somebody can read: the middle of a huge name says nothing, its beginning and the reason at the end do.
std::string OneLine(absl::string_view message) {
  constexpr size_t kHead = 3 << 10, kTail = 1 << 10;
  std::string line(message);
  if (line.size() > kHead + kTail) line.replace(kHead, line.size() - kHead - kTail, " [...] ");
  std::replace(line.begin(), line.end(), '\n', ' ');
  return line;
}

}  // namespace

void Context::Error(absl::string_view message) const {
  const std::string line = absl::StrCat("gantry-oci: ", OneLine(message), "\n");
  sys::WriteAll(STDERR_FILENO, line).IgnoreError();
  Log("error", OneLine(message));
}

void Context::Warn(absl::string_view message) const {
  if (log_path.empty()) {
    const std::string line = absl::StrCat("gantry-oci: warning: ", OneLine(message), "\n");
    sys::WriteAll(STDERR_FILENO, line).IgnoreError();
  }
  Log("warning", OneLine(message));
}

void Context::Debug(absl::string_view message) const {
  if (debug) Log("debug", message);
}

// containerd and podman take the message they report from the last error of this file.
void Context::Log(const char* level, absl::string_view message) const {
  if (log_path.empty()) return;
  auto fd = sys::OpenAt(AT_FDCWD, log_path, O_WRONLY | O_APPEND | O_CREAT, 0644);
  if (!fd.ok()) return;
  const std::string time = absl::FormatTime("%Y-%m-%d%ET%H:%M:%SZ", sys::WallNow(), absl::UTCTimeZone());
  std::string line;
  if (log_json) {
    oci::JsonWriter json(false);
    json.StartObject();
    json.Member("level", level);
    json.Member("msg", std::string(message));
    json.Member("time", time);
    json.EndObject();
    line = json.Take();
  } else {
    line = absl::StrCat("time=\"", time, "\" level=", level, " msg=\"", OneLine(message), "\"");
  }
  sys::WriteAll(fd->get(), line + "\n").IgnoreError();
}

oci::State Loaded::state() const {
  oci::State state;
  state.oci_version = saved.oci_version;
  state.id = saved.id;
  state.status = status;
  state.pid = status == oci::Status::kStopped ? 0 : saved.pid;
  state.bundle = saved.bundle;
  state.annotations = saved.annotations;
  return state;
}

absl::StatusOr<Loaded> Load(const Context& context, const std::string& id) {
  GANTRY_RETURN_IF_ERROR(container::CheckId(id));
  auto dir = container::StateDir::Open(context.root, id);
  if (!dir.ok()) {
    if (!absl::IsNotFound(dir.status())) return dir.status();
    return absl::NotFoundError(absl::StrCat("container \"", id, "\" does not exist in ", context.root));
  }
  auto saved = dir->Load();
  if (!saved.ok()) {
    if (!absl::IsNotFound(saved.status())) return saved.status();
    return absl::NotFoundError(absl::StrCat("container \"", id,
                                            "\" was never made whole: its create runs still, or was "
                                            "killed; delete --force removes what is left"));
  }
  const oci::Status status = container::CurrentStatus(*dir, *saved);
  Loaded container{*std::move(dir), *std::move(saved), status};
  if (status == oci::Status::kRunning || status == oci::Status::kCreated) {
    auto freezer = container.group().Freezer();
    if (freezer.ok() && *freezer == cgroup::FreezerState::kFrozen) container.status = oci::Status::kPaused;
  }
  return container;
}

absl::StatusOr<oci::Spec> LoadSpec(const Loaded& container) {
  GANTRY_ASSIGN_OR_RETURN(const std::string text, container.dir.LoadConfig());
  return oci::ParseSpec(text, container.dir.path() + "/config.json");
}

absl::Status Remove(const Context& context, const Loaded& container, bool kill, const oci::Spec* spec) {
  container::DeleteOptions options;
  options.pid = container.status == oci::Status::kStopped ? 0 : container.saved.pid;
  sys::PidFd pidfd;
  if (options.pid != 0) {
    if (auto opened = sys::PidFd::Open(options.pid); opened.ok()) pidfd = *std::move(opened);
    options.pidfd = pidfd.fd();
  }
  options.kill = kill;
  options.cgroup = container.group();
  // A paused process takes no signal on cgroup version 1.
  if (kill && container.status == oci::Status::kPaused) options.cgroup.KillAll(SIGKILL).IgnoreError();
  GANTRY_RETURN_IF_ERROR(container::Delete(options));
  absl::StatusOr<oci::Spec> loaded = absl::NotFoundError("");
  if (spec == nullptr) loaded = LoadSpec(container);
  oci::State state = container.state();
  state.status = oci::Status::kStopped;
  state.pid = 0;
  GANTRY_RETURN_IF_ERROR(container.dir.Remove());
  if (spec == nullptr && !loaded.ok()) {
    context.Warn(absl::StrCat("no poststop hooks: ", loaded.status().message()));
    return absl::OkStatus();
  }
  if (spec == nullptr) spec = &*loaded;
  const absl::Status unmounted =
      container::ReleaseJoinedRoot(*spec, container.saved.rootfs, container.saved.root_mount);
  if (!unmounted.ok()) context.Warn(unmounted.message());
  if (absl::Status released = container::ReleaseResctrl(*spec, state.id); !released.ok())
    context.Warn(released.message());
  for (const oci::Hook& hook : spec->hooks.poststop) {  // each runs whatever became of the one before
    const absl::Status status = container::RunHooks({hook}, "poststop", state);
    if (!status.ok()) context.Warn(status.message());
  }
  return absl::OkStatus();
}

absl::Status Print(absl::string_view text) {
  return sys::Annotate(sys::WriteAll(STDOUT_FILENO, text), "stdout");
}

absl::StatusOr<std::string> Absolute(const std::string& path) {
  if (!path.empty() && path[0] == '/') return path;
  char buffer[PATH_MAX];
  if (getcwd(buffer, sizeof buffer) == nullptr) return sys::ErrnoStatus("getcwd", "");
  if (path.empty() || path == ".") return std::string(buffer);
  return absl::StrCat(buffer, "/", path);
}

absl::Status WritePidFile(const std::string& path, pid_t pid) {
  return sys::Annotate(
      sys::WriteFileAtomic(AT_FDCWD, path, absl::StrCat(pid), 0644, sys::Durability::kVolatile),
      "--pid-file");
}

}  // namespace gantry::oci_cli
