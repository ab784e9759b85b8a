// From specification and host facts to a Plan. Pure: no system call, no global state; thread-safe.
//
// Errors are INVALID_ARGUMENT (the specification asks for something impossible; the message names the member
// and the rule), FAILED_PRECONDITION (this host cannot do it) and UNIMPLEMENTED (Gantry cannot).
#ifndef GANTRY_RUNTIME_PLAN_PLANNER_H_
#define GANTRY_RUNTIME_PLAN_PLANNER_H_

#include <cstdint>
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
};

absl::StatusOr<Plan> PlanCreate(const CreateRequest& request, const HostFacts& facts);

struct ExecRequest {
  const oci::Process* process = nullptr;  // has passed oci::ValidateProcess
  const oci::Spec* spec = nullptr;        // the container's, for seccomp and personality; may be null
  uint64_t join_flags = 0;                // CLONE_NEW*: the namespaces in which init differs from us
  int preserve_fds = 0;
};

absl::StatusOr<Plan> PlanExec(const ExecRequest& request, const HostFacts& facts);

}  // namespace gantry::plan

#endif  // GANTRY_RUNTIME_PLAN_PLANNER_H_
