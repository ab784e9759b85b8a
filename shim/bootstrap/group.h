// Which shim a container belongs to: one of its own, or one that it shares with others of its group.
//
// As with containerd's shim, an annotation of the bundle's specification names the group: `io.containerd.runc.v2.group`,
// else `io.kubernetes.cri.sandbox-id`.
#ifndef GANTRY_SHIM_BOOTSTRAP_GROUP_H_
#define GANTRY_SHIM_BOOTSTRAP_GROUP_H_

#include <string>

#include "absl/strings/string_view.h"

namespace gantry::shim {

// The group that a config.json asks for; empty: none. What cannot be parsed asks for none: its creation will tell why.
std::string GroupOfSpec(absl::string_view config_json);

// The same of <bundle>/config.json; a bundle without one has no group.
std::string GroupOfBundle(const std::string& bundle);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_BOOTSTRAP_GROUP_H_
