#include "runtime/linux/id_maps.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/spawn.h"
#include "runtime/sys/status.h"

namespace gantry::linux {
namespace {

constexpr size_t kMaxWords = 4096;  // of a program's complaint

// "0 100000 65536\n" and so on, as /proc/PID/uid_map takes it.
std::string FormatIdMap(const std::vector<oci::IdMapping>& mappings) {
  std::string text;
  for (const oci::IdMapping& mapping : mappings) {
    absl::StrAppend(&text, mapping.container_id, " ", mapping.host_id, " ", mapping.size, "\n");
  }
  return text;
}

absl::StatusOr<std::string> FindProgram(const std::string& name) {
  const char* path = getenv("PATH");
  for (absl::string_view directory :
       absl::StrSplit(absl::StrCat(path == nullptr ? "" : path, ":/usr/bin:/usr/local/bin:/bin"), ':')) {
    if (directory.empty() || directory[0] != '/') continue;
    std::string candidate = absl::StrCat(directory, "/", name);
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return absl::NotFoundError(
      absl::StrCat(name,
                   " is not installed (Debian: package uidmap): without it an ordinary user can map only one "
                   "number, his own"));
}

absl::Status RunProgram(const std::string& name, pid_t pid, const std::vector<oci::IdMapping>& mappings) {
  GANTRY_ASSIGN_OR_RETURN(const std::string path, FindProgram(name));
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return sys::ErrnoStatus("pipe2", "");
  const sys::UniqueFd reader(ends[0]);
  sys::UniqueFd writer(ends[1]);
  sys::SpawnOptions options;
  options.path = path;
  options.argv = {name, absl::StrCat(pid)};
  for (const oci::IdMapping& mapping : mappings) {
    options.argv.push_back(absl::StrCat(mapping.container_id));
    options.argv.push_back(absl::StrCat(mapping.host_id));
    options.argv.push_back(absl::StrCat(mapping.size));
  }
  options.env = {"PATH=/usr/bin:/bin"};
  options.fds = {{writer.get(), 1}, {writer.get(), 2}};
  GANTRY_ASSIGN_OR_RETURN(const sys::Spawned program, sys::Spawn(options));
  writer.reset();
  auto words = sys::ReadAll(reader.get(), kMaxWords);
  GANTRY_ASSIGN_OR_RETURN(const auto status, program.pidfd.Reap(sys::PidFd::Block::kWait));
  if (status->Code() == 0) return absl::OkStatus();
  return absl::PermissionDeniedError(
      absl::StrCat(absl::StrJoin(options.argv, " "), ": ",
                   words.ok() ? absl::StripAsciiWhitespace(*words) : absl::string_view("failed"), " (see ",
                   name == "newuidmap" ? "/etc/subuid)" : "/etc/subgid)"));
}

}  // namespace

absl::Status WriteIdMaps(int proc, pid_t pid, const plan::WriteIdMaps& maps) {
  if (!maps.uid_program.empty()) {
    GANTRY_RETURN_IF_ERROR(RunProgram(maps.uid_program, pid, maps.uid_mappings));
  } else {
    GANTRY_RETURN_IF_ERROR(
        sys::WriteControlFile(proc, absl::StrCat(pid, "/uid_map"), FormatIdMap(maps.uid_mappings)));
  }
  if (!maps.gid_program.empty()) return RunProgram(maps.gid_program, pid, maps.gid_mappings);
  if (maps.deny_setgroups) {
    GANTRY_RETURN_IF_ERROR(sys::WriteControlFile(proc, absl::StrCat(pid, "/setgroups"), "deny"));
  }
  return sys::WriteControlFile(proc, absl::StrCat(pid, "/gid_map"), FormatIdMap(maps.gid_mappings));
}

}  // namespace gantry::linux
