#include "shim/builder/process_cgroup.h"

#include <fcntl.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::shim {
namespace {

constexpr size_t kMaxBytes = 64 << 10;

// Whether a line of /proc/PID/cgroup with these controllers speaks of `hierarchy`. "" is version 2.
bool Describes(const cgroup::Hierarchy& hierarchy, absl::string_view controllers) {
  if (controllers.empty()) return hierarchy.version == 2;
  if (hierarchy.version != 1) return false;
  const std::vector<absl::string_view> names = absl::StrSplit(controllers, ',');
  return hierarchy.Has(names[0]);
}

}  // namespace

std::vector<cgroup::Directory> DirectoriesOf(const cgroup::Host& host, absl::string_view text) {
  std::vector<cgroup::Directory> directories;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    // "4:memory:/path"; the path may hold colons.
    const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    // "/../x": outside of our cgroup namespace, where we cannot look.
    if (parts.size() != 3 || parts[2] == "/" || absl::StartsWith(parts[2], "/..")) continue;
    for (const cgroup::Hierarchy& hierarchy : host.hierarchies) {
      if (!Describes(hierarchy, parts[1]) || parts[2] == hierarchy.self) continue;
      cgroup::Directory directory;
      directory.version = hierarchy.version;
      directory.controllers = absl::StrJoin(hierarchy.controllers, ",");
      directory.mount_point = hierarchy.mount_point;
      directory.path = absl::StrCat(hierarchy.mount_point, parts[2]);
      // The v2 one last, as everywhere.
      if (hierarchy.version == 2) {
        directories.push_back(std::move(directory));
      } else {
        const bool v2_last = !directories.empty() && directories.back().version == 2;
        directories.insert(directories.end() - (v2_last ? 1 : 0), std::move(directory));
      }
      break;
    }
  }
  return directories;
}

absl::StatusOr<std::vector<cgroup::Directory>> DirectoriesOfProcess(pid_t pid) {
  GANTRY_ASSIGN_OR_RETURN(const cgroup::Host host, cgroup::ProbeHost());
  GANTRY_ASSIGN_OR_RETURN(const std::string text,
                          sys::ReadFileAt(AT_FDCWD, absl::StrCat("/proc/", pid, "/cgroup"), kMaxBytes));
  return DirectoriesOf(host, text);
}

}  // namespace gantry::shim
