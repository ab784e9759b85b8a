#include "cmd/gantry/run/spec.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "cmd/gantry/run/environment.h"
#include "cmd/gantry/run/mounts.h"
#include "cmd/gantry/run/users.h"
#include "cmd/gantry/ui/text.h"
#include "runtime/oci/default_seccomp.h"
#include "runtime/sys/status.h"

namespace gantry::cli {
namespace {

constexpr char kDefaultPath[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr int64_t kCpuPeriod = 100000;       // microseconds
constexpr int64_t kLeastMemory = 512 << 10;  // below it, no process lives long enough to say why it died
constexpr size_t kMaxIdBytes = 76;           // containerd's
constexpr size_t kMaxHostname = 64;          // sethostname(2)

absl::Status Flag(absl::string_view flag, const absl::Status& status) { return sys::Annotate(status, flag); }

absl::Status SetArgs(const RunOptions& options, const ImageConfig& image, oci::Process* process) {
  std::vector<std::string> args = image.entrypoint;
  std::vector<std::string> rest = options.command.empty() ? image.cmd : options.command;
  if (options.entrypoint.has_value()) {
    args.clear();
    if (!options.entrypoint->empty()) args.push_back(*options.entrypoint);
    rest = options.command;  // the image's arguments belong to the entrypoint that was replaced
  }
  args.insert(args.end(), rest.begin(), rest.end());
  if (args.empty() || args[0].empty()) {
    return absl::InvalidArgumentError(
        "the image names no command and none was given: gantry run IMAGE COMMAND");
  }
  process->args = std::move(args);
  return absl::OkStatus();
}

absl::Status SetEnv(const RunOptions& options, const ImageConfig& image, const std::string& hostname,
                    const std::string& home, oci::Process* process) {
  std::vector<std::string> env = {kDefaultPath, absl::StrCat("HOSTNAME=", hostname)};
  if (options.tty) env.emplace_back("TERM=xterm");
  for (const std::string& variable : image.env) SetVariable(&env, variable);
  for (const std::string& file : options.env_files) {
    const absl::StatusOr<std::vector<std::string>> lines = ReadEnvFile(file);
    GANTRY_RETURN_IF_ERROR(Flag("--env-file", lines.status()));
    GANTRY_RETURN_IF_ERROR(Flag("--env-file", AddVariables(*lines, &env)));
  }
  GANTRY_RETURN_IF_ERROR(Flag("-e", AddVariables(options.env, &env)));
  if (!HasVariable(env, "HOME")) env.push_back(absl::StrCat("HOME=", home));
  process->env = std::move(env);
  return absl::OkStatus();
}

absl::Status SetCwd(const RunOptions& options, const ImageConfig& image, oci::Process* process) {
  process->cwd = !options.workdir.empty()    ? options.workdir
                 : image.working_dir.empty() ? "/"
                                             : image.working_dir;
  if (process->cwd[0] == '/') return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("-w: the working directory \"", process->cwd, "\" must be an absolute path"));
}

absl::Status SetCapabilities(const RunOptions& options, oci::Process* process) {
  std::vector<std::string> set = oci::DefaultCapabilities();
  const auto full_name = [](const std::string& typed) {
    const std::string upper = absl::AsciiStrToUpper(typed);
    return upper.rfind("CAP_", 0) == 0 ? upper : absl::StrCat("CAP_", upper);
  };
  for (const std::string& typed : options.cap_drop) {
    const std::string name = full_name(typed);
    if (name == "CAP_ALL") set.clear();
    set.erase(std::remove(set.begin(), set.end(), name), set.end());
  }
  for (const std::string& typed : options.cap_add) {
    const std::string name = full_name(typed);
    if (std::find(set.begin(), set.end(), name) == set.end()) set.push_back(name);
  }
  oci::Capabilities& capabilities = process->capabilities.emplace();
  capabilities.bounding = set;
  capabilities.effective = set;
  capabilities.permitted = set;
  return absl::OkStatus();
}

absl::Status SetLimits(const RunOptions& options, oci::Linux* linux_part) {
  if (!linux_part->resources) linux_part->resources.emplace();
  oci::Resources& resources = *linux_part->resources;
  if (!options.memory.empty()) {
    const absl::StatusOr<int64_t> bytes = ParseSize(options.memory);
    GANTRY_RETURN_IF_ERROR(Flag("-m", bytes.status()));
    if (*bytes < kLeastMemory) {
      return absl::InvalidArgumentError(
          absl::StrCat("-m: ", options.memory, " is less than the 512k that a process needs at the least"));
    }
    resources.memory.emplace().limit = *bytes;
  }
  if (!options.cpus.empty()) {
    const absl::StatusOr<int64_t> quota = ParseCpus(options.cpus);
    GANTRY_RETURN_IF_ERROR(Flag("--cpus", quota.status()));
    oci::CpuResources& cpu = resources.cpu.emplace();
    cpu.quota = *quota;
    cpu.period = kCpuPeriod;
  }
  if (!options.pids_limit.empty()) {
    int64_t limit = 0;
    if (!absl::SimpleAtoi(options.pids_limit, &limit) || limit < -1 || limit == 0) {
      return absl::InvalidArgumentError(absl::StrCat("--pids-limit: \"", options.pids_limit,
                                                     "\" is neither a positive number nor -1 (no limit)"));
    }
    resources.pids_limit = limit;
  }
  return absl::OkStatus();
}

absl::Status SetNetwork(const RunOptions& options, oci::Spec* spec) {
  if (options.network == "none") return absl::OkStatus();  // a namespace of its own, with a loopback alone
  if (options.network != "host") {
    return absl::InvalidArgumentError(absl::StrCat("--network: there is no network \"", options.network,
                                                   "\"; the networks are none and host"));
  }
  auto& namespaces = spec->linux->namespaces;
  namespaces.erase(
      std::remove_if(namespaces.begin(), namespaces.end(),
                     [](const oci::Namespace& n) { return n.type == oci::NamespaceType::kNetwork; }),
      namespaces.end());
  for (const char* path : {"/etc/hosts", "/etc/resolv.conf"}) {
    absl::StatusOr<oci::Mount> mount = ParseVolume(absl::StrCat(path, ":", path, ":ro"));
    if (mount.ok()) spec->mounts.push_back(*std::move(mount));  // a host without the file has none to give
  }
  return absl::OkStatus();
}

absl::Status AddMounts(const RunOptions& options, oci::Spec* spec) {
  const auto add = [&](const char* flag, const std::vector<std::string>& typed, auto parse) -> absl::Status {
    for (const std::string& text : typed) {
      absl::StatusOr<oci::Mount> mount = parse(text);
      GANTRY_RETURN_IF_ERROR(Flag(flag, mount.status()));
      spec->mounts.push_back(*std::move(mount));
    }
    return absl::OkStatus();
  };
  GANTRY_RETURN_IF_ERROR(add("--tmpfs", options.tmpfs, ParseTmpfs));
  GANTRY_RETURN_IF_ERROR(add("-v", options.volumes, ParseVolume));
  return add("--mount", options.mounts, ParseMount);
}

std::string HostnameFor(const RunOptions& options, const std::string& id) {
  std::string hostname = options.hostname.empty() ? id : options.hostname;
  if (!options.hostname.empty()) return hostname;
  std::replace(hostname.begin(), hostname.end(), '_', '-');
  return hostname.substr(0, std::min(kMaxHostname - 1, hostname.size()));
}

}  // namespace

absl::Status ValidateId(absl::string_view id) {
  bool good = !id.empty() && id.size() <= kMaxIdBytes;
  bool separator = true;  // as if before the first character: none may stand there
  for (const char c : id) {
    const bool is_separator = c == '-' || c == '_' || c == '.';
    good = good && (absl::ascii_isalnum(c) || (is_separator && !separator));
    separator = is_separator;
  }
  if (good && !separator) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("\"", id,
                   "\" is no name for a container: letters and digits, with single \"-\", "
                   "\"_\" or \".\" between them, at most ",
                   kMaxIdBytes, " characters"));
}

absl::StatusOr<oci::Spec> BuildSpec(const RunOptions& options, const ImageConfig& image,
                                    const UserFiles& files, const std::string& id, const std::string& ns) {
  oci::Spec spec = oci::DefaultSpec();
  if (!spec.process) spec.process.emplace();
  if (!spec.linux) spec.linux.emplace();
  oci::Process& process = *spec.process;
  process.terminal = options.tty;
  spec.hostname = HostnameFor(options, id);
  if (spec.hostname.size() > kMaxHostname) {
    return absl::InvalidArgumentError(
        absl::StrCat("--hostname: \"", spec.hostname, "\" is longer than ", kMaxHostname, " characters"));
  }
  const std::string& typed_user = options.user.empty() ? image.user : options.user;
  absl::StatusOr<ResolvedUser> user = ResolveUser(typed_user, files.passwd, files.group);
  GANTRY_RETURN_IF_ERROR(Flag(options.user.empty() ? "the image's user" : "-u", user.status()));
  process.user = user->user;
  GANTRY_RETURN_IF_ERROR(SetArgs(options, image, &process));
  GANTRY_RETURN_IF_ERROR(SetEnv(options, image, spec.hostname, user->home, &process));
  GANTRY_RETURN_IF_ERROR(SetCwd(options, image, &process));
  GANTRY_RETURN_IF_ERROR(SetCapabilities(options, &process));
  if (!spec.root) spec.root.emplace();
  spec.root->path = "rootfs";
  spec.root->readonly = options.read_only;
  spec.linux->cgroups_path = absl::StrCat("/", ns, "/", id);
  spec.linux->seccomp = oci::DefaultSeccomp(process.capabilities->bounding);
  GANTRY_RETURN_IF_ERROR(SetLimits(options, &*spec.linux));
  GANTRY_RETURN_IF_ERROR(SetNetwork(options, &spec));
  GANTRY_RETURN_IF_ERROR(AddMounts(options, &spec));
  GANTRY_RETURN_IF_ERROR(oci::Validate(spec));
  return spec;
}

}  // namespace gantry::cli
