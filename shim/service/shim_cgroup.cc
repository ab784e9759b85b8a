#include "shim/service/shim_cgroup.h"

#include <fcntl.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/cgroup/host.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::shim {

absl::Status JoinShimCgroup(const std::string& path) {
  if (!absl::StartsWith(path, "/") || absl::StrContains(path, "/../") || absl::EndsWith(path, "/..")) {
    return absl::InvalidArgumentError(
        absl::StrCat("shim_cgroup \"", path, "\": an absolute path without \"..\" is needed"));
  }
  GANTRY_ASSIGN_OR_RETURN(const cgroup::Host host, cgroup::ProbeHost());
  bool joined = false;
  for (const cgroup::Hierarchy& hierarchy : host.hierarchies) {
    // "0" into v1's `tasks` moves the writer without the wait that a pid in cgroup.procs costs.
    const char* const file = hierarchy.version == 1 ? "/tasks" : "/cgroup.procs";
    const absl::Status status =
        sys::WriteControlFile(AT_FDCWD, absl::StrCat(hierarchy.mount_point, path, file), "0");
    if (status.ok()) {
      joined = true;
    } else if (!absl::IsNotFound(status)) {
      return sys::Annotate(status, "shim_cgroup");
    }
  }
  if (!joined) {
    return absl::NotFoundError(absl::StrCat("shim_cgroup ", path, " is in none of the cgroup hierarchies"));
  }
  return absl::OkStatus();
}

}  // namespace gantry::shim
