// A container's processes to files, and back from them, through criu(8). See criu.h for errors of the program
// itself. Blocking, for single-threaded callers, as container.h.
//
// What belongs to the host is not in the files: bind mounts, masked paths, a network or pid namespace by path,
// pipes that were standard streams. criu is told of them by name on both sides ("external" resources).
#ifndef GANTRY_RUNTIME_CONTAINER_CHECKPOINT_H_
#define GANTRY_RUNTIME_CONTAINER_CHECKPOINT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/container/container.h"
#include "runtime/container/criu.h"

namespace gantry::container {

// What both ways have in common: runc's flags of the same names.
struct CriuSettings {
  std::string program = "criu";  // a path, or a name to be looked up in PATH
  std::string image_path;        // absolute; made if missing (mode 0700) by a checkpoint
  std::string work_path;         // absolute, for logs; empty: image_path
  std::string manage_cgroups_mode;
  bool tcp_established = false, ext_unix_sk = false, shell_job = false, file_locks = false;
  bool auto_dedup = false;
};

struct CheckpointOptions {
  CriuSettings criu;
  const oci::Spec* spec = nullptr;  // borrowed, as all here
  std::string rootfs;               // absolute
  pid_t pid = 0;
  cgroup::Cgroup cgroup;
  std::string parent_path;  // relative to image_path: the pre-dump before this one
  bool leave_running = false, pre_dump = false, tcp_skip_in_flight = false, link_remap = false;
  std::string page_server;  // "ADDRESS:PORT"
};

// Without leave_running and pre_dump the container's processes are gone afterwards; deleting it is the caller's.
// After an error they run on.
absl::Status Checkpoint(const CheckpointOptions& options);

struct RestoreOptions {
  CriuSettings criu;
  // The container as for Create: id, bundle, spec, stdio, console_socket, rootless are used. state_dir is where the
  // root is mounted meanwhile, and must be there.
  CreateOptions create;
  std::string lsm_profile, lsm_mount_context;
};

// The container runs when this returns: there is no start. After an error nothing is left.
absl::StatusOr<Container> Restore(const RestoreOptions& options);

// ["/dev/null","pipe:[7]",...] of descriptors.json, which runc writes beside criu's files: what the standard streams were.
std::string DescriptorsToJson(const std::vector<std::string>& names);
absl::StatusOr<std::vector<std::string>> DescriptorsFromJson(absl::string_view json);

}  // namespace gantry::container

#endif  // GANTRY_RUNTIME_CONTAINER_CHECKPOINT_H_
