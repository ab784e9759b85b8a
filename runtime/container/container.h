// The life of one container, for gantry-oci and for the shim.
//
//   create ──► [created: init waits] ──start──► [running] ──► [stopped] ──delete──► gone
//
// Vocabulary: the *holder* is the long-lived party (the shim, `gantry-oci run`); the *builder* is whoever
// calls Create, perhaps a forked child of the holder that exits right after; *init* is the container's first
// process.
//
// Create makes the cgroup and the mounts, clones init, and returns once init has set everything up except the
// execve: namespaces, mounts, user and limits are in force, the program was found, and init waits for Start.
// Any failure before that is Create's error, and everything was undone: no process, mount, cgroup or file is
// left, and the poststop hooks have run if the container had come to exist (runtime.md, Lifecycle 12).
//
// How init waits. With `state_dir` (gantry-oci create: the creator exits, start is another process) init
// listens on the socket <state_dir>/start. Otherwise it waits on one end of a socketpair, of which
// `Container::control` is the other; when the last copy of that is closed before Start, init ends itself.
// A waiting init is killed by SIGKILL like any process: kill and delete never wait for it.
//
// Threads: single-threaded callers only (gantry-oci, the shim's builder, tests): the process is cloned
// without execve. Units are in the names. Errors: absl::Status, the message names step and thing. Codes that
// callers tell apart: INVALID_ARGUMENT (the spec), NOT_FOUND (also: the program is not there),
// PERMISSION_DENIED (also: the program may not be executed), ALREADY_EXISTS.
#ifndef GANTRY_RUNTIME_CONTAINER_CONTAINER_H_
#define GANTRY_RUNTIME_CONTAINER_CONTAINER_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/oci/spec.h"
#include "runtime/oci/state.h"
#include "runtime/plan/planner.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::container {

// One entry of the root file system as containerd gives it (types.Mount).
using RootfsMount = plan::RootfsMount;

// What init and exec'd processes get as 0, 1 and 2. Borrowed; -1: the caller's own 0, 1 or 2. Ignored with a
// terminal.
struct Stdio {
  int in = -1;
  int out = -1;
  int err = -1;
};

// What the holder keeps of a created container. Moves over a socket with SendContainer.
struct Container {
  pid_t pid = 0;             // as the caller's pid namespace sees it
  sys::PidFd pidfd;          // readable when init has ended
  sys::UniqueFd control;     // see StartControl; invalid with state_dir
  sys::UniqueFd pty_master;  // valid only with process.terminal and without console_socket
  // A mount of the root file system. Kept until Delete, its last reference (and so the sync of an overlay's
  // upper layer) does not go with init, whose exit is then seen at once. Close it off the event loop.
  sys::UniqueFd root_mount;
  cgroup::Cgroup cgroup;
  uint64_t joined_root = 0;           // for ReleaseJoinedRoot; 0: the mount namespace is the container's own
  uint64_t start_time = 0;            // see sys::ProcessStartTime
  std::vector<std::string> warnings;  // what was left out and why (a limit that we may not raise, ...)
  bool ordered = false;               // see CreateOptions::start_at_once
};

struct CreateOptions {
  std::string id;
  std::string bundle;               // absolute
  const oci::Spec* spec = nullptr;  // has passed oci::Validate; borrowed for the call
  // Assembled as detached mounts and attached to spec.root.path in the container's mount namespace only;
  // empty: spec.root.path holds the root already.
  std::vector<RootfsMount> rootfs_mounts;

  Stdio stdio;
  // With process.terminal: the master goes to this socket (SCM_RIGHTS, the message is the terminal's name),
  // or, when empty, into Container::pty_master.
  std::string console_socket;
  bool terminal_allowed_without_socket = true;  // false: process.terminal then needs console_socket

  bool clone_parent = false;    // init becomes a child of the caller's parent (CLONE_PARENT)
  bool systemd_cgroup = false;  // cgroupsPath is "slice:prefix:name": a scope of systemd's, see cgroup/plan.h
  bool no_pivot = false;        // MS_MOVE instead of pivot_root: for roots on a ramfs
  bool no_new_keyring = false;  // keep the caller's session keyring
  int preserve_fds = 0;         // 3 .. 3+n-1 are passed on. They must be open and not close-on-exec
  // Whether a cgroup that we may not make is left out, with a warning. Absent: for an ordinary user, and in a user
  // namespace.
  std::optional<bool> rootless;

  // Where compiled seccomp filters are kept for the next containers (runtime/linux/seccomp_cache.h); empty: nowhere.
  std::string seccomp_cache;

  // gantry-oci: init listens on <state_dir>/start, see above. Absolute, exists, 0700.
  std::string state_dir;

  // Called once when init exists, usually while it is still being set up: all but the terminal, the root and the
  // warnings is known. For what the caller has to write down. An error undoes all.
  std::function<absl::Status(const Container&)> exists;
  // Without state_dir: the order to start is sent along, and where nothing in the making needs an answer Create does
  // not wait. Container::ordered says whether that was so: then StartControl(control, true) tells how it went, and a
  // failure is undone by the caller (Delete with `kill`).
  bool start_at_once = false;
  int not_for_init = -1;  // a descriptor of the caller's that must be closed by init at once; -1: none
};

absl::StatusOr<Container> Create(const CreateOptions& options);

// What Create would run on a host of these facts. Pure.
absl::StatusOr<plan::Plan> PlanOf(const CreateOptions& options, const plan::HostFacts& facts);

// The holder's end of the start conversation. Order once; then the outcome comes over the descriptor.
class StartControl {
 public:
  StartControl() = default;
  // `ordered`: init has its order already; Start only waits.
  explicit StartControl(sys::UniqueFd fd, bool ordered = false) : fd_(std::move(fd)), ordered_(ordered) {}
  // To the init that listens in `state_dir`. FAILED_PRECONDITION when it was started already, NOT_FOUND when
  // there is no such socket.
  static absl::StatusOr<StartControl> Connect(const std::string& state_dir);

  int fd() const { return fd_.get(); }  // for an event loop: readable when Poll has news
  bool valid() const { return fd_.valid(); }

  // Tells init to run the startContainer hooks and the program. Never blocks.
  absl::Status Order();

  // kPending: nothing yet. kStarted: the program runs (the descriptor was closed by execve). An error: init
  // failed (hook, seccomp, execve) and is ending; reap it. Never blocks.
  enum class Progress { kPending, kStarted };
  absl::StatusOr<Progress> Poll();

  // Order, then Poll until it is decided. Blocks as long as the startContainer hooks take.
  absl::Status Start();

  // What was left out, as far as init has told; each once.
  std::vector<std::string> TakeWarnings() { return std::exchange(warnings_, {}); }

 private:
  sys::UniqueFd fd_;
  bool ordered_ = false;
  std::vector<std::string> warnings_;
  bool accepted_ = false;
};

// Whether the init of a container in `state_dir` still waits for start: never blocks, also when init is
// frozen.
bool WaitsForStart(const std::string& state_dir);

struct ExecOptions {
  const oci::Process* process = nullptr;  // has passed oci::ValidateProcess; borrowed for the call
  const oci::Spec* spec = nullptr;        // the container's: seccomp, personality, keyring; may be null
  int init_pidfd = -1;                    // borrowed
  pid_t init_pid = 0;
  std::string id, bundle;  // of the container, for a seccomp agent and its resource control group
  cgroup::Cgroup cgroup;
  Stdio stdio;
  std::string seccomp_cache;  // as CreateOptions
  std::string console_socket;
  bool terminal_allowed_without_socket = true;
  bool clone_parent = false;
  int preserve_fds = 0;
};

struct ExecProcess {
  pid_t pid = 0;  // as the caller's pid namespace sees it
  sys::PidFd pidfd;
  sys::UniqueFd pty_master;
  std::vector<std::string> warnings;
};

// Runs a process in the container: joins all namespaces of init at once, its cgroups, then user, limits and
// filter as for init. Returns when execve succeeded; an error means that nothing runs. There is no waiting
// for start. FAILED_PRECONDITION when init has ended.
absl::StatusOr<ExecProcess> Exec(const ExecOptions& options);

// Hands a result from the builder to the holder over a unix socket, the error too. ReceiveX blocks until the
// builder has sent; a builder that died first is INTERNAL. The descriptors of the sender stay its own.
//
// With clone_parent the holder also gets children that it does not know: a helper that ends at once, or a
// failure's half-made process, killed by the builder. It reaps every child that it hears of.
absl::Status SendContainer(int socket, const absl::StatusOr<Container>& container);
absl::StatusOr<Container> ReceiveContainer(int socket);
absl::Status SendExecProcess(int socket, const absl::StatusOr<ExecProcess>& process);
absl::StatusOr<ExecProcess> ReceiveExecProcess(int socket);

// Runs hooks one after the other in the caller's namespaces, `state` on their stdin. The first failure
// (exit status, signal, timeout, not found) ends it. Blocks: from an event loop, run it in a forked child.
absl::Status RunHooks(const std::vector<oci::Hook>& hooks, absl::string_view kind, const oci::State& state);

struct DeleteOptions {
  pid_t pid = 0;  // init, and its descriptor if there is one: killed first when `kill` is set
  int pidfd = -1;
  bool kill = false;  // false: FAILED_PRECONDITION when init lives
  cgroup::Cgroup cgroup;
  absl::Duration timeout = absl::Seconds(10);  // for processes to go after SIGKILL
};

// Ends what is left of the container's processes and removes its cgroups. Idempotent: what is gone already is
// no error. Neither reaps init (that is its parent's), nor runs poststop hooks (RunHooks), nor touches state
// or bundle.
absl::Status Delete(const DeleteOptions& options);

// Takes the root of a container away from the mount namespace of others that it had joined (Container::joined_root).
// Idempotent; does nothing for other containers, when another mount is there by now, or when the namespace has gone.
// `rootfs` is absolute.
absl::Status ReleaseJoinedRoot(const oci::Spec& spec, const std::string& rootfs, uint64_t root_mount_id);

// Writes lines such as "L3:0=ff" to the container's resource control group. FAILED_PRECONDITION when it has none.
absl::Status UpdateResctrl(const oci::Spec& spec, const std::string& id,
                           const std::vector<std::string>& lines);

// Removes the resource control groups that Create made for the container `id` (linux.intelRdt). Idempotent; does
// nothing for a configuration without them. After Delete.
absl::Status ReleaseResctrl(const oci::Spec& spec, const std::string& id);

}  // namespace gantry::container

#endif  // GANTRY_RUNTIME_CONTAINER_CONTAINER_H_
