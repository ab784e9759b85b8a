// From specification and host facts to a Plan. Pure: no system call, no global state; thread-safe.
//
// Errors are INVALID_ARGUMENT (the specification asks for something impossible; the message names the member
// and the rule), FAILED_PRECONDITION (this host cannot do it) and UNIMPLEMENTED (Gantry cannot).
#ifndef GANTRY_RUNTIME_PLAN_PLANNER_H_
#define GANTRY_RUNTIME_PLAN_PLANNER_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/oci/spec.h"
#include "runtime/plan/facts.h"
#include "runtime/plan/plan.h"

namespace gantry::plan {

// One entry of the root file system as containerd gives it (types.Mount).
struct RootfsMount {
  std::string type;    // "overlay", "bind", ...
  std::string source;  // of a bind: an absolute path
  std::string target;  // below the root; empty: the root itself
  std::vector<std::string> options;
};

struct CreateRequest {
  const oci::Spec* spec = nullptr;  // has passed oci::Validate
  std::string id;
  std::string bundle;                      // absolute
  std::vector<RootfsMount> rootfs_mounts;  // empty: spec->root->path is the root
  bool systemd_cgroup = false;             // needs facts.cgroup.systemd
  bool no_pivot = false;
  bool no_new_keyring = false;
  int preserve_fds = 0;
  // Whether a cgroup that may not be made is left out with a warning. Absent: for an ordinary user, and in a user
  // namespace, if no limit needs it.
  std::optional<bool> rootless;
};

absl::StatusOr<Plan> PlanCreate(const CreateRequest& request, const HostFacts& facts);

struct ExecRequest {
  const oci::Process* process = nullptr;  // has passed oci::ValidateProcess
  const oci::Spec* spec = nullptr;        // the container's, for seccomp and personality; may be null
  std::string id;                         // the container's, for its resource control group; may be empty
  uint64_t join_flags = 0;                // CLONE_NEW*: the namespaces in which init differs from us
  int preserve_fds = 0;
};

// The container's class of service, as a directory below the mount point of resctrl; empty: that itself.
std::string ResctrlGroup(const oci::IntelRdt& rdt, const std::string& id);
// The directories below the mount point of resctrl that were made for this container, and go with it. A class of
// service that has a closID stays.
std::vector<std::string> OwnResctrlGroups(const oci::Linux& section, const std::string& id);

absl::StatusOr<Plan> PlanExec(const ExecRequest& request, const HostFacts& facts);

}  // namespace gantry::plan

#endif  // GANTRY_RUNTIME_PLAN_PLANNER_H_
