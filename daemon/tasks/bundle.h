// The bundles: one directory for each task, from which a restarted daemon knows what runs.
//
//   <state>/io.containerd.runtime.v2.task/<namespace>/<id>/       0700 (0710 and the mapped group with a user namespace)
//     config.json        the runtime specification, as the client sent it
//     rootfs/            where a shim mounts the root file system
//     work               a link to <root>/io.containerd.runtime.v2.task/<namespace>/<id> (for foreign
//                        shims, and with the files of a checkpoint that is continued)
//     shim-binary-path   the shim's program: written before it is started, the record of that intent
//     bootstrap.json     where the shim listens: for our own shim written before it is started too
//     log                a FIFO for the messages of a foreign shim
//     creating           of a foreign shim until it has created the container: nobody was told of this task
//     ending             clients were told that there is no such task (any more). As with `creating`, a daemon that finds
//                        it ends what is left of it, and never shows it
//     exit-told          init's exit reached the subscribers: no later daemon tells it again
//     exec-told          the last exit of an exec that reached them: its id, pid and time
//     sandbox            the id of the sandbox whose shim has the container
//   <state>/io.containerd.sandbox.controller.v1.shim/<namespace>/<id>/   the same for sandboxes; `creating` for ours too
//     started            the sandbox was started: its end is to be told
//   <state>/s/<sha256>   the sockets of our shims
//   <state>/trash/       bundles on their way out
//
// The state directory is a tmpfs: nothing is synced. Thread-safe: no state but the paths.
#ifndef GANTRY_DAEMON_TASKS_BUNDLE_H_
#define GANTRY_DAEMON_TASKS_BUNDLE_H_

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/tasks/shim_protocol.h"

namespace gantry::tasks {

struct TaskKey {
  std::string ns;
  std::string id;
  friend auto operator<=>(const TaskKey&, const TaskKey&) = default;
};

class Bundles {
 public:
  enum class Kind { kTasks, kSandboxes };
  Bundles(std::string state, std::string root, Kind kind = Kind::kTasks)
      : state_(std::move(state)), root_(std::move(root)), kind_(kind) {}

  std::string Path(const TaskKey& key) const;
  // The name that shims give to the socket of `key`, which is in a group of its own.
  static std::string SocketName(const TaskKey& key, absl::string_view grpc_address);
  // The socket of our shim for `key`, or, if not empty, for the `group` that it is in. Its name is cut short where the
  // state directory's is long; FAILED_PRECONDITION when even that does not fit into a unix socket's address.
  absl::StatusOr<std::string> SocketPath(const TaskKey& key, absl::string_view grpc_address,
                                         absl::string_view group = "") const;

  // Makes the folders above the bundles; of tasks: empties the trash too.
  absl::Status Prepare() const;

  // Makes the bundle of `key`. On error nothing of it stays. `spec` is the JSON of config.json; `foreign`: with the
  // link `work`, its directory, and the mark `creating`. Without a `spec` there is no config.json.
  absl::Status Create(const TaskKey& key, absl::string_view spec, bool foreign) const;
  absl::Status MarkCreating(const TaskKey& key) const;
  void ClearCreating(const TaskKey& key) const;
  bool IsCreating(const TaskKey& key) const;
  // Twice is OK. NOT_FOUND: there is no bundle.
  absl::Status MarkEnding(const TaskKey& key) const;
  bool IsEnding(const TaskKey& key) const;
  // The directory for the checkpoint that a task continues, below `work`. It goes with the bundle.
  absl::StatusOr<std::string> MakeCheckpoint(const TaskKey& key) const;
  void MarkExitTold(const TaskKey& key) const;
  bool IsExitTold(const TaskKey& key) const;
  void MarkExecTold(const TaskKey& key, absl::string_view exit) const;
  std::string ReadExecTold(const TaskKey& key) const;  // empty: none
  absl::Status WriteBinary(const TaskKey& key, absl::string_view binary) const;
  absl::Status WriteBootstrap(const TaskKey& key, const Bootstrap& bootstrap) const;
  // In one step, where there is one already.
  absl::Status ReplaceBootstrap(const TaskKey& key, const Bootstrap& bootstrap) const;
  absl::Status WriteSandbox(const TaskKey& key, absl::string_view sandbox) const;
  bool IsSandboxed(const TaskKey& key) const;
  void MarkStarted(const TaskKey& key) const;
  bool IsStarted(const TaskKey& key) const;

  // NOT_FOUND when it was never written.
  absl::StatusOr<std::string> ReadBinary(const TaskKey& key) const;
  absl::StatusOr<Bootstrap> ReadBootstrap(const TaskKey& key) const;

  // What our shim left there of its container's init (`gantry-state`, see shim/README.md): for a successor, should the
  // shim be killed. NOT_FOUND without a container; FAILED_PRECONDITION for one that nobody could go on with; and if it
  // has ended already, which the file `exit` tells.
  struct InitRecord {
    pid_t pid = 0;
    uint64_t start_time = 0;  // sys::ProcessStartTime
  };
  absl::StatusOr<InitRecord> ReadInit(const TaskKey& key) const;
  // What every shim leaves in `init.pid`; 0 before there is a container. Proves nothing of the process.
  uint32_t ReadPid(const TaskKey& key) const;

  // Every bundle there is, whatever it holds.
  absl::StatusOr<std::vector<TaskKey>> List() const;

  // Removes the sockets at which nobody listens and that are of none of `keys`: of a daemon that was killed between the
  // end of a bundle and of its socket.
  void RemoveStraySockets(const std::vector<TaskKey>& keys, absl::string_view grpc_address) const;

  // Takes the bundle out of sight in one step; the place is free then. What is returned is to be given to Destroy,
  // later and off the loop. A bundle that is not there is OK: an empty path.
  absl::StatusOr<std::string> Discard(const TaskKey& key);
  absl::Status Destroy(const std::string& discarded) const;

 private:
  std::string Work(const TaskKey& key) const;
  absl::Status MakeWork(const TaskKey& key) const;

  std::string Folder() const;

  const std::string state_;
  const std::string root_;
  const Kind kind_;
  std::atomic<uint64_t> next_{0};
};

}  // namespace gantry::tasks

#endif  // GANTRY_DAEMON_TASKS_BUNDLE_H_
