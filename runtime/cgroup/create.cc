// Making a cgroup from its plan.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/cgroup/device_program.h"
#include "runtime/cgroup/execute.h"
#include "runtime/cgroup/files.h"
#include "runtime/cgroup/systemd.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::cgroup {
namespace internal {
namespace {

constexpr mode_t kMode = 0755;

std::string ParentOf(const std::string& path) { return path.substr(0, path.rfind('/')); }

// mkdir -p; the directories that were not there, top down, are added to `made`.
absl::Status MakeDirectory(const Directory& directory, std::vector<std::string>* made) {
  std::vector<std::string> missing = {directory.path};
  for (;;) {
    if (mkdir(missing.back().c_str(), kMode) == 0) {
      made->push_back(missing.back());
    } else if (errno == ENOENT && missing.back().size() > directory.mount_point.size() + 1) {
      missing.push_back(ParentOf(missing.back()));
      continue;
    } else if (errno != EEXIST) {
      return sys::ErrnoStatus("mkdir", missing.back());
    }
    missing.pop_back();
    if (missing.empty()) return absl::OkStatus();
  }
}

absl::Status MustHoldNobody(const std::string& path) {
  std::vector<pid_t> pids;
  GANTRY_RETURN_IF_ERROR(CollectPids(path, &pids));
  if (pids.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat("the cgroup ", path, " is in use, by process ", pids[0],
                                                    "; give the container another linux.cgroupsPath"));
}

// A v1 cpuset takes no process before it has CPUs and nodes; a new one has none (or, by cgroup.clone_children, its
// parent's).
absl::Status InitCpuset(const std::string& mount_point, const std::string& path, bool is_new) {
  for (const char* file : {"/cpuset.cpus", "/cpuset.mems"}) {
    if (!is_new) {
      GANTRY_ASSIGN_OR_RETURN(const std::string own, ReadControl(path + file));
      if (own.find_first_not_of(" \n") != std::string::npos) continue;
    }
    const std::string parent = ParentOf(path);
    GANTRY_ASSIGN_OR_RETURN(std::string value, ReadControl(parent + file));
    if (value.find_first_not_of(" \n") == std::string::npos && parent.size() > mount_point.size()) {
      GANTRY_RETURN_IF_ERROR(InitCpuset(mount_point, parent, /*is_new=*/false));
      GANTRY_ASSIGN_OR_RETURN(value, ReadControl(parent + file));
    }
    GANTRY_RETURN_IF_ERROR(WriteControl(path + file, value));
  }
  return absl::OkStatus();
}

std::vector<std::string> Missing(const Directory& directory) {
  const std::string text = ReadOrEmpty(directory.path + "/cgroup.controllers");
  const std::vector<absl::string_view> present =
      absl::StrSplit(text, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  std::vector<std::string> missing;
  for (const std::string& name : directory.enable) {
    if (std::find(present.begin(), present.end(), name) == present.end()) missing.push_back(name);
  }
  return missing;
}

}  // namespace

absl::Status EnableControllers(const Plan& plan, size_t index) {
  const Directory& directory = plan.directories[index];
  if (directory.enable.empty()) return absl::OkStatus();
  std::vector<std::string> missing = Missing(directory);
  if (missing.empty()) return absl::OkStatus();
  const std::string line = "+" + absl::StrJoin(missing, " +");
  std::map<std::string, absl::Status> refused;
  for (size_t end = directory.mount_point.size(); end != std::string::npos && end < directory.path.size();
       end = directory.path.find('/', end + 1)) {
    const std::string file = directory.path.substr(0, end) + "/cgroup.subtree_control";
    if (WriteControl(file, line).ok()) continue;
    // One that is refused must not take the others with it.
    for (const std::string& name : missing) {
      absl::Status status = WriteControl(file, "+" + name);
      if (!status.ok()) refused.emplace(name, std::move(status));
    }
  }
  // What nobody asks to limit may stay off: then it is not counted either.
  for (const FileWrite& write : plan.writes) {
    if (write.directory != index) continue;
    const auto found = refused.find(write.file.substr(0, write.file.find('.')));
    if (found == refused.end()) continue;
    const absl::string_view hint = sys::ErrnoOf(found->second) == EBUSY
                                       ? " (a cgroup that holds processes itself cannot hand controllers on)"
                                       : "";
    return sys::Annotate(found->second, absl::StrCat(write.setting, ": enable the cgroup controller \"",
                                                     found->first, "\"", hint));
  }
  return absl::OkStatus();
}

namespace {

// Keeps the last file open: device rules are a dozen writes to one.
class Writer {
 public:
  explicit Writer(const std::vector<Directory>& directories) : directories_(directories) {}

  absl::Status Write(const FileWrite& write) {
    const std::string& base = directories_[write.directory].path;
    absl::Status status = WriteTo(absl::StrCat(base, "/", write.file), write.value);
    if (sys::ErrnoOf(status) == ENOENT && !write.other_file.empty()) {
      status = WriteTo(absl::StrCat(base, "/", write.other_file), write.other_value);
    }
    if (sys::ErrnoOf(status) == ENOENT && write.may_be_missing) return absl::OkStatus();
    return sys::Annotate(status, absl::StrCat(write.setting, ": write \"", write.value, "\""));
  }

 private:
  absl::Status WriteTo(const std::string& path, const std::string& value) {
    if (path != path_) {
      path_.clear();
      GANTRY_ASSIGN_OR_RETURN(fd_, sys::OpenAt(AT_FDCWD, path, O_WRONLY));
      path_ = path;
    }
    ssize_t n;
    do {
      n = write(fd_.get(), value.data(), value.size());
    } while (n < 0 && errno == EINTR);
    return n < 0 ? sys::ErrnoStatus("write", path) : absl::OkStatus();
  }

  const std::vector<Directory>& directories_;
  sys::UniqueFd fd_;
  std::string path_;
};

}  // namespace

absl::Status RunWrites(const Plan& plan) {
  Writer writer(plan.directories);
  std::vector<const FileWrite*> deferred;
  for (const FileWrite& write : plan.writes) {
    const absl::Status status = writer.Write(write);
    if (status.ok()) continue;
    if (sys::ErrnoOf(status) != EINVAL) return status;
    deferred.push_back(&write);
  }
  for (const FileWrite* write : deferred) GANTRY_RETURN_IF_ERROR(writer.Write(*write));
  return absl::OkStatus();
}

}  // namespace internal

namespace {

// cgroups(7), "Cgroups delegation": the directory and the files that the kernel lists.
absl::Status GiveTo(uint32_t uid, const std::string& path) {
  constexpr char kUsual[] = "cgroup.procs\ncgroup.subtree_control\ncgroup.threads\n";
  std::string files = internal::ReadOrEmpty("/sys/kernel/cgroup/delegate");
  if (files.empty()) files = kUsual;
  if (chown(path.c_str(), uid, static_cast<gid_t>(-1)) != 0) {
    // Who may not give it away keeps it: the container can then not divide it further, nothing worse.
    return errno == EPERM ? absl::OkStatus() : sys::ErrnoStatus("chown", path);
  }
  for (absl::string_view name : absl::StrSplit(files, '\n', absl::SkipEmpty())) {
    const std::string file = absl::StrCat(path, "/", name);
    if (chown(file.c_str(), uid, static_cast<gid_t>(-1)) != 0 && errno != ENOENT) {
      return sys::ErrnoStatus("chown", file);
    }
  }
  return absl::OkStatus();
}

}  // namespace

NewScope::NewScope() = default;
NewScope::NewScope(NewScope&&) noexcept = default;
NewScope& NewScope::operator=(NewScope&&) noexcept = default;
NewScope::~NewScope() = default;

absl::Status NewScope::Finish() {
  holder_.reset();
  return internal::RunWrites(late_);
}

absl::StatusOr<Cgroup> Cgroup::Create(const Plan& plan, NewScope* scope) {
  std::vector<std::string> made;
  const auto start_scope = [&]() -> absl::Status {
    if (scope == nullptr)
      return absl::InternalError("cgroup: a plan with a scope, and nobody to hold it open");
    GANTRY_ASSIGN_OR_RETURN(Systemd systemd, Systemd::Connect(plan.scope->user));
    GANTRY_ASSIGN_OR_RETURN(ScopeHolder holder, ScopeHolder::Start());
    scope->holder_ = std::make_unique<ScopeHolder>(std::move(holder));
    scope->late_.directories = plan.directories;
    scope->late_.writes = plan.late_writes;
    return systemd.StartScope(*plan.scope, scope->holder_->pid());
  };
  const auto build = [&]() -> absl::Status {
    for (size_t i = 0; i < plan.directories.size(); ++i) {
      const Directory& directory = plan.directories[i];
      const size_t before = made.size();
      GANTRY_RETURN_IF_ERROR(internal::MakeDirectory(directory, &made));
      if (made.size() == before && !plan.scope.has_value()) {
        GANTRY_RETURN_IF_ERROR(internal::MustHoldNobody(directory.path));
      }
      if (directory.version == 1 && directory.Has("cpuset")) {
        const bool is_new = made.size() > before;
        GANTRY_RETURN_IF_ERROR(sys::Annotate(
            internal::InitCpuset(directory.mount_point, directory.path, is_new), "copy the parent's cpuset"));
      }
      if (directory.version == 2) GANTRY_RETURN_IF_ERROR(internal::EnableControllers(plan, i));
    }
    GANTRY_RETURN_IF_ERROR(internal::RunWrites(plan));
    if (plan.owner_uid.has_value())
      GANTRY_RETURN_IF_ERROR(GiveTo(*plan.owner_uid, plan.directories.back().path));
    if (!plan.device_program.has_value()) return absl::OkStatus();
    return AttachDevicePolicy(plan.directories.back().path, *plan.device_program);
  };
  if (plan.scope.has_value()) GANTRY_RETURN_IF_ERROR(start_scope());
  if (absl::Status status = build(); !status.ok()) {
    if (plan.scope.has_value()) {
      scope->holder_.reset();
      Cgroup(plan.directories).StopUnit().IgnoreError();
    }
    for (size_t i = made.size(); i-- > 0;) rmdir(made[i].c_str());
    return status;
  }
  return Cgroup(plan.directories);
}

}  // namespace gantry::cgroup
