#include "daemon/tasks/bundle.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <rapidjson/document.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/sys/file.h"
#include "runtime/sys/log.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/status.h"

namespace gantry::tasks {
namespace {

constexpr char kTaskFolder[] = "io.containerd.runtime.v2.task";
constexpr char kSandboxFolder[] = "io.containerd.sandbox.controller.v1.shim";
constexpr size_t kSmallFile = 64 << 10;
constexpr size_t kLongestSocket = sizeof(sockaddr_un::sun_path) - 1;
// 64 bits of the digest still never meet twice on one machine.
constexpr size_t kShortestName = 16;

absl::StatusOr<std::vector<std::string>> Names(const std::string& directory) {
  std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(directory.c_str()), closedir);
  if (dir == nullptr) return sys::ErrnoStatus("opendir", directory);
  std::vector<std::string> names;
  while (const dirent* entry = readdir(dir.get())) {
    const absl::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  return names;
}

std::string Sha256Hex(absl::string_view data) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(data.data(), data.size(), digest, &size, EVP_sha256(), nullptr);
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), size));
}

// The host's id of the container's group 0, if the specification maps groups.
std::optional<gid_t> MappedRootGroup(absl::string_view spec) {
  if (!absl::StrContains(spec, "gidMappings")) return std::nullopt;  // spares nearly all the parsing
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag>(spec.data(), spec.size());
  if (document.HasParseError() || !document.IsObject()) return std::nullopt;
  const auto linux_part = document.FindMember("linux");
  if (linux_part == document.MemberEnd() || !linux_part->value.IsObject()) return std::nullopt;
  const auto mappings = linux_part->value.FindMember("gidMappings");
  if (mappings == linux_part->value.MemberEnd() || !mappings->value.IsArray()) return std::nullopt;
  for (const auto& mapping : mappings->value.GetArray()) {
    if (!mapping.IsObject()) continue;
    const auto inside = mapping.FindMember("containerID");
    const auto outside = mapping.FindMember("hostID");
    const bool is_root =
        inside == mapping.MemberEnd() || (inside->value.IsUint() && inside->value.GetUint() == 0);
    if (is_root && outside != mapping.MemberEnd() && outside->value.IsUint()) return outside->value.GetUint();
  }
  return std::nullopt;
}

absl::Status WriteNew(const std::string& path, absl::string_view data, mode_t mode) {
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd file,
                          sys::OpenAt(AT_FDCWD, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode));
  return sys::WriteAll(file.get(), data);
}

absl::Status MakeDirectory(const std::string& path, mode_t mode) {
  if (mkdir(path.c_str(), mode) == 0) return absl::OkStatus();
  return sys::ErrnoStatus("mkdir", path);
}

}  // namespace

std::string Bundles::Folder() const { return kind_ == Kind::kTasks ? kTaskFolder : kSandboxFolder; }

std::string Bundles::Path(const TaskKey& key) const {
  return absl::StrCat(state_, "/", Folder(), "/", key.ns, "/", key.id);
}

std::string Bundles::Work(const TaskKey& key) const {
  return absl::StrCat(root_, "/", Folder(), "/", key.ns, "/", key.id);
}

std::string Bundles::SocketName(const TaskKey& key, absl::string_view grpc_address) {
  return Sha256Hex(absl::StrCat(grpc_address, "/", key.ns, "/", key.id));
}

absl::StatusOr<std::string> Bundles::SocketPath(const TaskKey& key, absl::string_view grpc_address,
                                                absl::string_view group) const {
  const std::string directory = absl::StrCat(state_, "/s/");
  // No id holds a ':': the three kinds have names of their own.
  std::string who = key.id;
  if (kind_ == Kind::kSandboxes) who = absl::StrCat("sandbox:", key.id);
  if (!group.empty()) who = absl::StrCat("group:", group);
  const std::string name = SocketName({key.ns, who}, grpc_address);
  if (directory.size() + kShortestName > kLongestSocket) {
    return absl::FailedPreconditionError(
        absl::StrCat("the state directory ", state_, " is too long: with it a shim's socket has more than ",
                     kLongestSocket, " bytes; start the daemon with a shorter --state"));
  }
  return absl::StrCat(directory, name.substr(0, kLongestSocket - directory.size()));
}

absl::Status Bundles::Prepare() const {
  GANTRY_RETURN_IF_ERROR(sys::MkdirAll(absl::StrCat(state_, "/", Folder()), 0711));
  GANTRY_RETURN_IF_ERROR(sys::MkdirAll(absl::StrCat(state_, "/s"), 0700));
  const std::string trash = absl::StrCat(state_, "/trash");
  GANTRY_RETURN_IF_ERROR(sys::MkdirAll(trash, 0700));
  if (kind_ != Kind::kTasks) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(const std::vector<std::string> names, Names(trash));
  for (const std::string& name : names) {
    const std::string path = absl::StrCat(trash, "/", name);
    // Something that a former daemon started may still write there; the next start finds it again.
    if (absl::Status removed = sys::RemoveAllAt(AT_FDCWD, path); !removed.ok()) {
      log::Warn("cannot remove a bundle", {{"path", path}, {"error", std::string(removed.message())}});
    }
  }
  return absl::OkStatus();
}

absl::Status Bundles::Create(const TaskKey& key, absl::string_view spec, bool foreign) const {
  const std::string path = Path(key);
  if (mkdir(path.c_str(), 0700) != 0) {
    if (errno != ENOENT) return sys::ErrnoStatus("mkdir", path);
    GANTRY_RETURN_IF_ERROR(sys::MkdirAll(absl::StrCat(state_, "/", Folder(), "/", key.ns), 0711));
    GANTRY_RETURN_IF_ERROR(MakeDirectory(path, 0700));
  }
  absl::Cleanup undo = [&path] { sys::RemoveAllAt(AT_FDCWD, path).IgnoreError(); };
  if (const std::optional<gid_t> group = MappedRootGroup(spec)) {
    // The container's root must be able to walk through to its rootfs, and no more.
    if (chown(path.c_str(), 0, *group) != 0) return sys::ErrnoStatus("chown", path);
    if (chmod(path.c_str(), 0710) != 0) return sys::ErrnoStatus("chmod", path);
  }
  GANTRY_RETURN_IF_ERROR(MakeDirectory(absl::StrCat(path, "/rootfs"), 0711));
  if (!spec.empty()) GANTRY_RETURN_IF_ERROR(WriteNew(absl::StrCat(path, "/config.json"), spec, 0600));
  if (foreign) {
    GANTRY_RETURN_IF_ERROR(MarkCreating(key));
    GANTRY_RETURN_IF_ERROR(MakeWork(key));
  }
  std::move(undo).Cancel();
  return absl::OkStatus();
}

absl::Status Bundles::MarkCreating(const TaskKey& key) const {
  return WriteNew(absl::StrCat(Path(key), "/creating"), "", 0600);
}

void Bundles::ClearCreating(const TaskKey& key) const {
  unlink(absl::StrCat(Path(key), "/creating").c_str());
}

bool Bundles::IsCreating(const TaskKey& key) const {
  return access(absl::StrCat(Path(key), "/creating").c_str(), F_OK) == 0;
}

absl::Status Bundles::MarkEnding(const TaskKey& key) const {
  return sys::OpenAt(AT_FDCWD, absl::StrCat(Path(key), "/ending"), O_WRONLY | O_CREAT | O_NOFOLLOW, 0600)
      .status();
}

bool Bundles::IsEnding(const TaskKey& key) const {
  return access(absl::StrCat(Path(key), "/ending").c_str(), F_OK) == 0;
}

// A second time is OK.
absl::Status Bundles::MakeWork(const TaskKey& key) const {
  const std::string target = Work(key);
  const std::string link = absl::StrCat(Path(key), "/work");
  if (access(link.c_str(), F_OK) == 0) return absl::OkStatus();
  GANTRY_RETURN_IF_ERROR(sys::RemoveAllAt(AT_FDCWD, target));  // of a life before a reboot
  GANTRY_RETURN_IF_ERROR(sys::MkdirAll(target, 0711));
  if (symlink(target.c_str(), link.c_str()) != 0) return sys::ErrnoStatus("symlink", link);
  return absl::OkStatus();
}

absl::StatusOr<std::string> Bundles::MakeCheckpoint(const TaskKey& key) const {
  GANTRY_RETURN_IF_ERROR(MakeWork(key));
  std::string directory = absl::StrCat(Work(key), "/checkpoint");
  GANTRY_RETURN_IF_ERROR(MakeDirectory(directory, 0700));
  return directory;
}

void Bundles::MarkExitTold(const TaskKey& key) const {
  // Without it the worst is an event that comes twice.
  sys::OpenAt(AT_FDCWD, absl::StrCat(Path(key), "/exit-told"), O_WRONLY | O_CREAT | O_NOFOLLOW, 0600)
      .status()
      .IgnoreError();
}

bool Bundles::IsExitTold(const TaskKey& key) const {
  return access(absl::StrCat(Path(key), "/exit-told").c_str(), F_OK) == 0;
}

void Bundles::MarkExecTold(const TaskKey& key, absl::string_view exit) const {
  // Without it the worst is an event that comes twice.
  absl::StatusOr<sys::UniqueFd> file = sys::OpenAt(AT_FDCWD, absl::StrCat(Path(key), "/exec-told"),
                                                   O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, 0600);
  if (file.ok()) sys::WriteAll(file->get(), exit).IgnoreError();
}

std::string Bundles::ReadExecTold(const TaskKey& key) const {
  return sys::ReadFileAt(AT_FDCWD, absl::StrCat(Path(key), "/exec-told"), kSmallFile, O_NOFOLLOW)
      .value_or("");
}

absl::Status Bundles::WriteBinary(const TaskKey& key, absl::string_view binary) const {
  return WriteNew(absl::StrCat(Path(key), "/shim-binary-path"), binary, 0600);
}

absl::Status Bundles::WriteBootstrap(const TaskKey& key, const Bootstrap& bootstrap) const {
  return WriteNew(absl::StrCat(Path(key), "/bootstrap.json"), FormatBootstrap(bootstrap), 0600);
}

absl::Status Bundles::ReplaceBootstrap(const TaskKey& key, const Bootstrap& bootstrap) const {
  return sys::WriteFileAtomic(AT_FDCWD, absl::StrCat(Path(key), "/bootstrap.json"),
                              FormatBootstrap(bootstrap), 0600, sys::Durability::kVolatile);
}

absl::Status Bundles::WriteSandbox(const TaskKey& key, absl::string_view sandbox) const {
  return WriteNew(absl::StrCat(Path(key), "/sandbox"), sandbox, 0600);
}

bool Bundles::IsSandboxed(const TaskKey& key) const {
  return access(absl::StrCat(Path(key), "/sandbox").c_str(), F_OK) == 0;
}

void Bundles::MarkStarted(const TaskKey& key) const {
  // Without it the worst is an end that nobody is told of.
  sys::OpenAt(AT_FDCWD, absl::StrCat(Path(key), "/started"), O_WRONLY | O_CREAT | O_NOFOLLOW, 0600)
      .status()
      .IgnoreError();
}

bool Bundles::IsStarted(const TaskKey& key) const {
  return access(absl::StrCat(Path(key), "/started").c_str(), F_OK) == 0;
}

absl::StatusOr<std::string> Bundles::ReadBinary(const TaskKey& key) const {
  return sys::ReadFileAt(AT_FDCWD, absl::StrCat(Path(key), "/shim-binary-path"), kSmallFile, O_NOFOLLOW);
}

absl::StatusOr<Bootstrap> Bundles::ReadBootstrap(const TaskKey& key) const {
  GANTRY_ASSIGN_OR_RETURN(
      const std::string text,
      sys::ReadFileAt(AT_FDCWD, absl::StrCat(Path(key), "/bootstrap.json"), kSmallFile, O_NOFOLLOW));
  return ParseBootstrap(text);
}

absl::StatusOr<Bundles::InitRecord> Bundles::ReadInit(const TaskKey& key) const {
  const std::string path = Path(key);
  GANTRY_ASSIGN_OR_RETURN(
      const std::string text,
      sys::ReadFileAt(AT_FDCWD, absl::StrCat(path, "/gantry-state"), kSmallFile, O_NOFOLLOW));
  const std::vector<absl::string_view> lines = absl::StrSplit(text, absl::MaxSplits('\n', 2));
  const std::vector<absl::string_view> words = absl::StrSplit(lines[0], ' ');
  InitRecord record;
  if (words.size() != 3 || words[0] != "pid" || !absl::SimpleAtoi(words[1], &record.pid) ||
      !absl::SimpleAtoi(words[2], &record.start_time)) {
    return absl::DataLossError(absl::StrCat(path, "/gantry-state is damaged"));
  }
  if (lines.size() < 2 || !absl::StartsWith(lines[1], "adopt ")) {
    return absl::FailedPreconditionError("its streams went with its shim");
  }
  if (access(absl::StrCat(path, "/exit").c_str(), F_OK) == 0) {
    return absl::FailedPreconditionError("it has ended, and how is known");
  }
  return record;
}

uint32_t Bundles::ReadPid(const TaskKey& key) const {
  const absl::StatusOr<std::string> text =
      sys::ReadFileAt(AT_FDCWD, absl::StrCat(Path(key), "/init.pid"), kSmallFile, O_NOFOLLOW);
  uint32_t pid = 0;
  return text.ok() && absl::SimpleAtoi(*text, &pid) ? pid : 0;
}

void Bundles::RemoveStraySockets(const std::vector<TaskKey>& keys, absl::string_view grpc_address) const {
  const std::string directory = absl::StrCat(state_, "/s");
  const absl::StatusOr<std::vector<std::string>> names = Names(directory);
  if (!names.ok() || names->empty()) return;
  std::set<std::string> known;
  for (const TaskKey& key : keys) known.insert(SocketPath(key, grpc_address).value_or(""));
  for (const std::string& name : *names) {
    const std::string path = absl::StrCat(directory, "/", name);
    if (known.contains(path)) continue;
    const absl::Status connected = sys::ConnectUnix(path, SOCK_STREAM).status();
    if (sys::ErrnoOf(connected) == ECONNREFUSED) unlink(path.c_str());
  }
}

absl::StatusOr<std::vector<TaskKey>> Bundles::List() const {
  const std::string folder = absl::StrCat(state_, "/", Folder());
  GANTRY_ASSIGN_OR_RETURN(const std::vector<std::string> namespaces, Names(folder));
  std::vector<TaskKey> keys;
  for (const std::string& ns : namespaces) {
    absl::StatusOr<std::vector<std::string>> ids = Names(absl::StrCat(folder, "/", ns));
    if (!ids.ok()) continue;  // no directory: not ours
    for (const std::string& id : *ids) keys.push_back({ns, id});
  }
  return keys;
}

absl::StatusOr<std::string> Bundles::Discard(const TaskKey& key) {
  const std::string from = Path(key);
  const std::string to =
      absl::StrCat(state_, "/trash/", kind_ == Kind::kTasks ? "" : "sandbox-", getpid(), "-", next_++);
  if (rename(from.c_str(), to.c_str()) == 0) return to;
  if (errno == ENOENT) return std::string();
  return sys::ErrnoStatus("rename", from);
}

absl::Status Bundles::Destroy(const std::string& discarded) const {
  if (discarded.empty()) return absl::OkStatus();
  char target[PATH_MAX];
  const ssize_t size = readlink(absl::StrCat(discarded, "/work").c_str(), target, sizeof(target));
  if (size > 0) {
    const std::string work(target, static_cast<size_t>(size));
    // Only below our own folder, whoever wrote that link.
    if (absl::StartsWith(work, absl::StrCat(root_, "/", Folder(), "/")) && !absl::StrContains(work, "/../")) {
      GANTRY_RETURN_IF_ERROR(sys::RemoveAllAt(AT_FDCWD, work));
    }
  }
  return sys::RemoveAllAt(AT_FDCWD, discarded);
}

}  // namespace gantry::tasks
