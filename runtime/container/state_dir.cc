#include "runtime/container/state_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <rapidjson/document.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/container/container.h"
#include "runtime/oci/json_writer.h"
#include "runtime/sys/file.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/status.h"

namespace gantry::container {
namespace {

constexpr size_t kMaxIdLength = 1024;               // as runc
constexpr size_t kMaxFileBytes = 16 * 1024 * 1024;  // the limit of a configuration
constexpr char kStateFile[] = "state.json";
constexpr char kConfigFile[] = "config.json";

struct DirCloser {
  void operator()(DIR* dir) const { closedir(dir); }
};

// The members of a state.json, which we wrote ourselves: a file that lacks one was damaged.
class Reader {
 public:
  explicit Reader(const rapidjson::Document& document) : document_(document) {}

  std::string Text(const char* key) {
    const auto* value = Find(key);
    return value != nullptr && value->IsString() ? std::string(value->GetString(), value->GetStringLength())
                                                 : Missing(key, std::string());
  }
  uint64_t Number(const char* key) {
    const auto* value = Find(key);
    return value != nullptr && value->IsUint64() ? value->GetUint64() : Missing(key, uint64_t{0});
  }
  std::map<std::string, std::string> Map(const char* key) {
    std::map<std::string, std::string> result;
    const auto* value = Find(key);
    if (value == nullptr || !value->IsObject()) return Missing(key, result);
    for (const auto& member : value->GetObject()) {
      if (!member.value.IsString()) return Missing(key, result);
      result[member.name.GetString()] = std::string(member.value.GetString(), member.value.GetStringLength());
    }
    return result;
  }
  bool Has(const char* key) const { return Find(key) != nullptr; }
  const absl::Status& status() const { return status_; }

 private:
  const rapidjson::Value* Find(const char* key) const {
    const auto member = document_.FindMember(key);
    return member == document_.MemberEnd() ? nullptr : &member->value;
  }
  template <typename T>
  T Missing(const char* key, T value) {
    status_ =
        absl::DataLossError(absl::StrCat(kStateFile, ": \"", key, "\" is missing or of the wrong type"));
    return value;
  }

  const rapidjson::Document& document_;
  absl::Status status_;
};

}  // namespace

std::string ToJson(const SavedState& state) {
  oci::JsonWriter json(/*pretty=*/false);
  json.StartObject();
  json.Member("ociVersion", state.oci_version);
  json.Member("id", state.id);
  json.Member("pid", static_cast<uint64_t>(state.pid));
  json.Member("startTime", state.start_time);
  json.Member("bundle", state.bundle);
  json.Member("rootfs", state.rootfs);
  json.Member("created", state.created);
  json.Member("cgroup", cgroup::FormatDirectories(state.cgroup));
  json.Member("annotations", state.annotations);
  if (state.root_mount != 0) json.Member("rootMount", state.root_mount);
  json.EndObject();
  return json.Take();
}

absl::StatusOr<SavedState> ParseSavedState(absl::string_view json) {
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag>(json.data(), json.size());
  if (document.HasParseError() || !document.IsObject()) {
    return absl::DataLossError(absl::StrCat(kStateFile, ": no JSON object"));
  }
  Reader reader(document);
  SavedState state;
  state.oci_version = reader.Text("ociVersion");
  state.id = reader.Text("id");
  state.pid = static_cast<pid_t>(reader.Number("pid"));
  state.start_time = reader.Number("startTime");
  state.bundle = reader.Text("bundle");
  state.rootfs = reader.Text("rootfs");
  state.created = reader.Text("created");
  state.annotations = reader.Map("annotations");
  if (reader.Has("rootMount")) state.root_mount = reader.Number("rootMount");
  const std::string cgroup = reader.Text("cgroup");
  GANTRY_RETURN_IF_ERROR(reader.status());
  GANTRY_ASSIGN_OR_RETURN(state.cgroup, cgroup::ParseDirectories(cgroup));
  return state;
}

absl::Status CheckId(absl::string_view id) {
  const bool plain = std::all_of(id.begin(), id.end(), [](unsigned char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '+' || c == '-' || c == '.';
  });
  if (plain && !id.empty() && id.size() <= kMaxIdLength && id != "." && id != "..") return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("invalid container id \"", id.substr(0, 100),
                   "\": 1 to 1024 letters, digits and _ + - . are allowed, but not \".\" or \"..\""));
}

absl::StatusOr<StateDir> StateDir::Make(const std::string& root, const std::string& id) {
  GANTRY_RETURN_IF_ERROR(CheckId(id));
  GANTRY_RETURN_IF_ERROR(sys::MkdirAll(root, 0711));
  const std::string path = absl::StrCat(root, "/", id);
  if (mkdir(path.c_str(), 0700) != 0) {
    if (errno == EEXIST)
      return absl::AlreadyExistsError(absl::StrCat("container \"", id, "\" exists already"));
    return sys::ErrnoStatus("mkdir", path);
  }
  return StateDir(path);
}

absl::StatusOr<StateDir> StateDir::Open(const std::string& root, const std::string& id) {
  GANTRY_RETURN_IF_ERROR(CheckId(id));
  const std::string path = absl::StrCat(root, "/", id);
  struct stat st;
  if (lstat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode)) return StateDir(path);
  return absl::NotFoundError(absl::StrCat("container \"", id, "\" does not exist"));
}

absl::StatusOr<std::vector<std::string>> StateDir::List(const std::string& root) {
  std::vector<std::string> ids;
  const std::unique_ptr<DIR, DirCloser> dir(opendir(root.c_str()));
  if (dir == nullptr) {
    if (errno == ENOENT) return ids;
    return sys::ErrnoStatus("opendir", root);
  }
  while (const dirent* entry = readdir(dir.get())) {
    if (CheckId(entry->d_name).ok() && (entry->d_type == DT_DIR || entry->d_type == DT_UNKNOWN)) {
      ids.push_back(entry->d_name);
    }
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

absl::Status StateDir::Save(const SavedState& state) const {
  return sys::WriteFileAtomic(AT_FDCWD, absl::StrCat(path_, "/", kStateFile), ToJson(state), 0600,
                              sys::Durability::kVolatile);
}

absl::Status StateDir::SaveConfig(absl::string_view json) const {
  return sys::WriteFileAtomic(AT_FDCWD, absl::StrCat(path_, "/", kConfigFile), json, 0600,
                              sys::Durability::kVolatile);
}

absl::StatusOr<SavedState> StateDir::Load() const {
  GANTRY_ASSIGN_OR_RETURN(const std::string json,
                          sys::ReadFileAt(AT_FDCWD, absl::StrCat(path_, "/", kStateFile), kMaxFileBytes));
  auto state = ParseSavedState(json);
  if (!state.ok()) return sys::Annotate(state.status(), path_);
  return state;
}

absl::StatusOr<std::string> StateDir::LoadConfig() const {
  return sys::ReadFileAt(AT_FDCWD, absl::StrCat(path_, "/", kConfigFile), kMaxFileBytes);
}

absl::Status StateDir::Remove() const {
  // What is there as a rule, then whatever else.
  for (const char* file : {kStateFile, kConfigFile}) unlink(absl::StrCat(path_, "/", file).c_str());
  if (rmdir(path_.c_str()) == 0) return absl::OkStatus();
  return sys::RemoveAllAt(AT_FDCWD, path_);
}

oci::Status CurrentStatus(const StateDir& dir, const SavedState& state) {
  // The descriptor first, then the question whose it is: in between the pid cannot change hands.
  const auto pidfd = sys::PidFd::Open(state.pid);
  const auto start_time = sys::ProcessStartTime(state.pid);
  const bool ours = pidfd.ok() && start_time.ok() && *start_time == state.start_time;
  if (!ours || pidfd->Exited()) return oci::Status::kStopped;
  return WaitsForStart(dir.path()) ? oci::Status::kCreated : oci::Status::kRunning;
}

}  // namespace gantry::container
