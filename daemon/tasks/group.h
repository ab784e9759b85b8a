// The group of a container: those of one group share a shim.
//
// As with containerd's shim, an annotation of the specification names it: `io.containerd.runc.v2.group`, else
// `io.kubernetes.cri.sandbox-id`. Pure, thread-safe.
#ifndef GANTRY_DAEMON_TASKS_GROUP_H_
#define GANTRY_DAEMON_TASKS_GROUP_H_

#include <string>

#include "absl/strings/string_view.h"

namespace gantry::tasks {

// Empty: the container has a shim of its own. `spec` is the JSON of a config.json.
std::string GroupOf(absl::string_view spec);

}  // namespace gantry::tasks

#endif  // GANTRY_DAEMON_TASKS_GROUP_H_
