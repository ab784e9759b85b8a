// The work that a forked builder does for the shim, so that the shim parses nothing big and waits for nothing.
//
// Each job is a pair: StartX forks and returns a socket, FinishX, called when that is readable, takes the result
// (it blocks only if called earlier). Descriptors in a job are borrowed. A builder that dies is an INTERNAL
// error. Belongs to the loop's thread.
#ifndef GANTRY_SHIM_BUILDER_JOBS_H_
#define GANTRY_SHIM_BUILDER_JOBS_H_

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/container/container.h"
#include "runtime/oci/spec.h"
#include "runtime/sys/unique_fd.h"
#include "shim/builder/saved_state.h"

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
  // A container that is continued: where criu's files are, and its log goes (empty: below the bundle).
  std::string checkpoint;
  std::string criu_work_path;
  std::string criu;  // the program; empty: "criu"
  // Where the specification asks for a network namespace of its own: this one, if not empty.
  std::string network_namespace;
  // What a successor of the shim has to know of the streams; nothing: nobody could go on with them.
  std::optional<AdoptState> adopt;
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

// Whether the bundle's specification has a process to run: NOT_FOUND if not, or if the bundle has no specification.
absl::StatusOr<sys::UniqueFd> StartFindProcess(const std::string& bundle);

// Closes `fd` where nobody waits for it: the last reference to an overlay mount syncs its upper layer.
absl::Status CloseElsewhere(sys::UniqueFd fd);

// The outcome of StartHooks, StartUpdate and StartFindProcess.
absl::Status FinishJob(int socket);

// ---- for those who write jobs: called in the helper ----

// The descriptors of `stdio` that are valid.
std::vector<int> FdsOf(const container::Stdio& stdio);
// What FinishJob gives. An error in sending is nobody's: the shim is gone.
void SendStatus(int socket, const absl::Status& status);
absl::StatusOr<oci::Spec> ReadSpec(const std::string& bundle);
// Writes what the bundle tells of the container that was made for `job`.
absl::Status SaveCreated(const CreateJob& job, const Created& created, const container::Container& container);
// What FinishCreate gives: `created`, or `status` if that is an error. An error: nobody owns the container now.
absl::Status SendCreated(int socket, Created& created, const absl::Status& status);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_BUILDER_JOBS_H_
