#include "runtime/container/checkpoint.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <tuple>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "runtime/container/criu_common.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::container {
namespace {

absl::Status AddPageServer(const std::string& text, CriuOpts* opts) {
  if (text.empty()) return absl::OkStatus();
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0 ||
      !absl::SimpleAtoi(text.substr(colon + 1), &opts->page_server_port) || opts->page_server_port < 1 ||
      opts->page_server_port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat("--page-server \"", text, "\": must be ADDRESS:PORT"));
  }
  opts->page_server_address = text.substr(0, colon);
  return absl::OkStatus();
}

absl::Status AddParent(const CheckpointOptions& options, CriuOpts* opts) {
  if (options.parent_path.empty()) return absl::OkStatus();
  if (options.parent_path[0] == '/') {
    return absl::InvalidArgumentError("--parent-path: must be relative to --image-path");
  }
  const std::string path = absl::StrCat(options.criu.image_path, "/", options.parent_path);
  GANTRY_RETURN_IF_ERROR(
      sys::Annotate(sys::OpenAt(AT_FDCWD, path, O_PATH | O_DIRECTORY).status(), "--parent-path"));
  opts->parent_img = options.parent_path;
  opts->track_mem = true;
  return absl::OkStatus();
}

// Namespaces that were there before the container are there at restore: "net[4026531840]:extRootNetNS".
absl::Status AddExternalNamespaces(const CheckpointOptions& options, int version, CriuOpts* opts) {
  constexpr int kNetworkSince = 31100, kPidSince = 31500;
  for (const auto& [type, name, since] : {std::tuple(oci::NamespaceType::kNetwork, "net", kNetworkSince),
                                          std::tuple(oci::NamespaceType::kPid, "pid", kPidSince)}) {
    const oci::Namespace* entry = options.spec->linux->FindNamespace(type);
    if (entry == nullptr || entry->path.empty()) continue;
    if (version < since) {
      return absl::FailedPreconditionError(absl::StrCat(
          "criu ", version / 10000, ".", version / 100 % 100, " is too old for a container in the ",
          oci::NamespaceTypeName(type), " namespace ", entry->path));
    }
    struct stat st;
    if (stat(entry->path.c_str(), &st) != 0) return sys::ErrnoStatus("stat", entry->path);
    opts->external.push_back(absl::StrCat(name, "[", st.st_ino, "]:", ExternalNamespaceKey(type)));
  }
  return absl::OkStatus();
}

void AddMounts(const CheckpointOptions& options, CriuOpts* opts) {
  for (const ExternalMount& mount : ExternalMounts(*options.spec, "", options.cgroup)) {
    opts->ext_mnt.emplace_back(mount.destination, mount.destination);
  }
  for (const std::string& path : options.spec->linux->masked_paths) {
    struct stat st;
    const std::string seen = absl::StrCat("/proc/", options.pid, "/root", path);
    if (stat(seen.c_str(), &st) == 0 && !S_ISDIR(st.st_mode)) opts->ext_mnt.emplace_back(path, "/dev/null");
  }
  for (const oci::Device& device : options.spec->linux->devices) {
    opts->ext_mnt.emplace_back(device.path, device.path);
  }
}

// What the standard streams are now: the other side gives pipes new ends.
absl::Status SaveDescriptors(const CheckpointOptions& options) {
  std::vector<std::string> names;
  for (int fd = 0; fd < 3; fd++) {
    char name[PATH_MAX];
    const std::string link = absl::StrCat("/proc/", options.pid, "/fd/", fd);
    const ssize_t n = readlink(link.c_str(), name, sizeof name);
    names.push_back(n > 0 ? std::string(name, static_cast<size_t>(n)) : "");
  }
  return sys::WriteFileAtomic(AT_FDCWD, absl::StrCat(options.criu.image_path, "/", kDescriptorsFile),
                              DescriptorsToJson(names), 0600, sys::Durability::kVolatile);
}

absl::Status CheckMemoryTracking(const std::string& program) {
  CriuCall call;
  call.program = program;
  call.request.type = CriuRequestType::kFeatureCheck;
  call.request.check_mem_track = true;
  GANTRY_ASSIGN_OR_RETURN(const CriuResponse response, CallCriu(call));
  if (response.mem_track) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "--pre-dump: this kernel cannot track changes of memory (CONFIG_MEM_SOFT_DIRTY)");
}

std::string Freezer(const cgroup::Cgroup& cgroup, int version) {
  constexpr int kUnifiedSince = 31400;
  std::string path = cgroup.PathOf("freezer");
  if (path.empty() && version >= kUnifiedSince) path = cgroup.PathOf("");
  return path;
}

}  // namespace

absl::Status Checkpoint(const CheckpointOptions& options) {
  GANTRY_ASSIGN_OR_RETURN(const int version, CriuVersion(options.criu.program));
  CriuCall call;
  call.program = options.criu.program;
  CriuOpts& opts = call.request.opts;
  call.request.type = options.pre_dump ? CriuRequestType::kPreDump : CriuRequestType::kDump;
  GANTRY_ASSIGN_OR_RETURN(const CriuDirectories directories,
                          PrepareCriu(options.criu, *options.spec, "dump.log", /*make=*/true, &opts));
  call.log_path = directories.log_path;
  opts.pid = options.pid;
  opts.root = options.rootfs;
  opts.leave_running = options.leave_running;
  opts.tcp_skip_in_flight = options.tcp_skip_in_flight;
  opts.link_remap = options.link_remap;
  opts.freeze_cgroup = Freezer(options.cgroup, version);
  GANTRY_RETURN_IF_ERROR(AddPageServer(options.page_server, &opts));
  GANTRY_RETURN_IF_ERROR(AddParent(options, &opts));
  GANTRY_RETURN_IF_ERROR(AddExternalNamespaces(options, version, &opts));
  if (options.pre_dump) {
    GANTRY_RETURN_IF_ERROR(CheckMemoryTracking(options.criu.program));
  } else {
    AddMounts(options, &opts);
    GANTRY_RETURN_IF_ERROR(SaveDescriptors(options));
  }
  return CallCriu(call).status();
}

}  // namespace gantry::container
