// The work that a forked builder does for the shim, so that the shim parses nothing big and waits for nothing.
//
// Each job is a pair: StartX forks and returns a socket, FinishX, called when that is readable, takes the result
// (it blocks only if called earlier). Descriptors in a job are borrowed. A builder that dies is an INTERNAL
// error. Belongs to the loop's thread.
#ifndef GANTRY_SHIM_BUILDER_JOBS_H_
#define GANTRY_SHIM_BUILDER_JOBS_H_

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/container/container.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::shim {

struct CreateJob {
  std::string id;
  std::string bundle;
  std::vector<container::RootfsMount> rootfs;
  container::Stdio stdio;
  bool terminal = false;
  bool no_pivot = false;
  bool no_new_keyring = false;
  bool systemd_cgroup = false;
};

struct Created {
  container::Container container;
  // False: init's end does not end the others, the shim must.
  bool private_pid_namespace = true;
  bool has_poststart = false;
  bool has_poststop = false;
};

// Reads <bundle>/config.json, validates it, and creates the container as a child of the shim.
absl::StatusOr<sys::UniqueFd> StartCreate(const CreateJob& job);
absl::StatusOr<Created> FinishCreate(int socket);

struct ExecJob {
  std::string id;  // the container's
  std::string bundle;
  std::string process_json;  // an OCI Process
  bool terminal = false;
  container::Stdio stdio;
  int init_pidfd = -1;
  pid_t init_pid = 0;
  cgroup::Cgroup cgroup;
};

absl::StatusOr<sys::UniqueFd> StartExec(const ExecJob& job);
absl::StatusOr<container::ExecProcess> FinishExec(int socket);

// Hooks of the bundle's specification: kPoststart, kPoststop.
enum class HookKind { kPoststart, kPoststop };
struct HooksJob {
  HookKind kind = HookKind::kPoststop;
  std::string id;
  std::string bundle;
  pid_t pid = 0;
};
absl::StatusOr<sys::UniqueFd> StartHooks(const HooksJob& job);

// Applies an OCI LinuxResources in JSON to the cgroup.
absl::StatusOr<sys::UniqueFd> StartUpdate(const std::string& resources_json, const cgroup::Cgroup& cgroup);

// Closes `fd` where nobody waits for it: the last reference to an overlay mount syncs its upper layer.
absl::Status CloseElsewhere(sys::UniqueFd fd);

// The outcome of StartHooks and StartUpdate.
absl::Status FinishJob(int socket);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_BUILDER_JOBS_H_
