// Who makes and changes a container for the shim: our own runtime, or the program of another OCI runtime
// (`BinaryName` of containerd.runc.v1.Options).
//
// Create and Exec fork a helper and give its socket: FinishCreate and FinishExec (jobs.h) take the result when that
// is readable. The other calls either are done when they return, with an invalid descriptor, or give such a socket for
// FinishJob. Errors are the runtime's own words. Nothing here waits. Belongs to the loop's thread.
#ifndef GANTRY_SHIM_BUILDER_ENGINE_H_
#define GANTRY_SHIM_BUILDER_ENGINE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/unique_fd.h"
#include "shim/builder/jobs.h"

namespace gantry::shim {

struct EngineOptions {
  std::string program;  // of the other runtime: a path, or a name that PATH has; empty: our own
  std::string root;     // where that program keeps its state, the namespace included
  bool systemd_cgroup = false;
  bool no_pivot = false;
  bool no_new_keyring = false;
  friend bool operator==(const EngineOptions&, const EngineOptions&) = default;
};

// A container that exists, borrowed for the call.
struct EngineTarget {
  const std::string& id;
  const std::string& bundle;
  const cgroup::Cgroup& cgroup;
  const sys::PidFd& init;
  pid_t pid;
};

// What to write, and how: containerd.runc.v1.CheckpointOptions.
struct CheckpointJob {
  std::string image_path;   // absolute
  std::string work_path;    // for criu's logs; empty: below the bundle, and removed after a success
  std::string parent_path;  // relative to image_path
  bool leave_running = true;
  bool open_tcp = false, external_unix_sockets = false, terminal = false, file_locks = false;
  std::vector<std::string> empty_namespaces;
  std::string cgroups_mode;
  std::string criu;  // the program: a path or a name; empty: "criu"
};

class Engine {
 public:
  virtual ~Engine() = default;
  using Job = absl::StatusOr<sys::UniqueFd>;

  // With a checkpoint: the container is restored from it, and runs; there is no start.
  virtual Job Create(const CreateJob& job) const = 0;
  virtual Job Exec(const ExecJob& job) const = 0;
  // Of a container that was created without Created::container.control.
  virtual Job Start(const EngineTarget& target) const = 0;
  // To init, or to everything in the container. NOT_FOUND when it has ended.
  virtual Job Signal(const EngineTarget& target, int signal, bool all) const = 0;
  virtual Job Pause(const EngineTarget& target) const = 0;
  virtual Job Resume(const EngineTarget& target) const = 0;
  // Without leave_running init is killed once it is written. FAILED_PRECONDITION or NOT_FOUND without a usable criu.
  virtual Job Checkpoint(const EngineTarget& target, const CheckpointJob& job) const = 0;
  // `resources_json`: an OCI LinuxResources.
  virtual Job Update(const EngineTarget& target, const std::string& resources_json) const = 0;
  // Init has ended: forgets the container. Its cgroup is the caller's. Idempotent.
  virtual Job Delete(const EngineTarget& target) const = 0;
};

std::unique_ptr<Engine> MakeEngine(const EngineOptions& options);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_BUILDER_ENGINE_H_
