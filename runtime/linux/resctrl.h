// Resource control groups of the CPU (config-linux.md, "IntelRdt"; the kernel's Documentation/filesystems/
// resctrl): cache ways and memory bandwidth, and their monitoring.
//
//   <resctrl>/<group>/{schemata,tasks}             the class of service
//   <resctrl>/<group>/mon_groups/<id>/tasks        what one container of it uses
//
// Not thread-safe against others that change the same group.
#ifndef GANTRY_RUNTIME_LINUX_RESCTRL_H_
#define GANTRY_RUNTIME_LINUX_RESCTRL_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/plan/plan.h"

namespace gantry::linux {

// Where it is mounted. FAILED_PRECONDITION when it is not.
absl::StatusOr<std::string> FindResctrl();
// The same in the text of a /proc/PID/mountinfo.
absl::StatusOr<std::string> FindResctrl(absl::string_view mountinfo);

// Makes what the operation asks for below the mount point `root`; the directories that it made are added to `made`,
// also when it fails then: RemoveResctrlGroups takes them away.
absl::Status OpenResctrlGroup(const std::string& root, const plan::OpenResctrlGroup& op,
                              std::vector<std::string>* made);
// Puts the process there. Its later children follow.
absl::Status JoinResctrlGroup(const std::string& root, const plan::JoinResctrlGroup& op, pid_t pid);
// Removes groups, the last one first; processes in them fall back to the group above. What is not there is no error.
absl::Status RemoveResctrlGroups(const std::vector<std::string>& made);

// Whether a line such as "L3:0=7f0;1=1f" is what the text of a `schemata` file says. Bit masks and
// percentages are compared as numbers; domains that the line does not name do not matter.
bool SchemataHold(absl::string_view schemata, absl::string_view line);

}  // namespace gantry::linux

#endif  // GANTRY_RUNTIME_LINUX_RESCTRL_H_
