// The sequence, parent on the left, child on the right:
//
//   operations before Clone: cgroup, detached mounts, filter, descriptors
//   clone3 ─────────────────────────────►  (all signals blocked, not dumpable)
//   fills in the hooks' state
//   WriteIdMaps, kGo ───────────────────►  AwaitIdMaps
//                                          cgroup, namespaces, mounts, devices
//                    ◄── kRoot, kTerminal, kWarning
//                    ◄── kHooks            HostHooks
//   runs the hooks of the host, kGo ────►  createContainer hooks, the switch of the root, limits, user
//                    ◄── kReady            AwaitStart: waits
//   returns
//   (the holder) kStart ────────────────►
//                    ◄── kAccepted         startContainer hooks, filter
//                    ◄── closed            execve; or kFailed
//
// With Clone::helper, clone3 makes a helper first, which enters namespaces and clones the child with
// CLONE_PARENT: from there on it is the same.
#include "runtime/linux/execute.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>

#include "absl/strings/str_cat.h"
#include "runtime/linux/id_maps.h"
#include "runtime/linux/message.h"
#include "runtime/linux/mount_visit.h"
#include "runtime/linux/net_devices.h"
#include "runtime/linux/prepare.h"
#include "runtime/linux/resctrl.h"
#include "runtime/sys/close_range.h"
#include "runtime/sys/failpoint.h"
#include "runtime/sys/file.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/status.h"

namespace gantry::linux {
namespace {

constexpr uint64_t kCloneNewTime = CLONE_NEWTIME;

struct OperationName {
  template <typename Operation>
  absl::string_view operator()(const Operation&) const {
    return Operation::kName;
  }
};

class Execution {
 public:
  explicit Execution(const ExecuteOptions& options) : options_(options) {}

  absl::StatusOr<Executed> Run() {
    absl::Status status = Attempt();
    if (status.ok()) return std::move(result_);
    Undo();
    return status;
  }

 private:
  absl::Status Attempt();
  absl::Status CloneChild();
  absl::Status CloneDirectly(struct clone_args args);
  absl::Status CloneByHelper(struct clone_args args);
  void ReapHelper();
  void EnterUnifiedCgroup(struct clone_args* args);
  [[noreturn]] void RunHelper(struct clone_args args, int report);
  bool EnterNamespaces();
  bool JoinInit(const plan::JoinProcess& join);
  void CloseAllButTheChilds(int report);
  absl::Status RunParentOperations();
  absl::Status LetChildGoOn();
  void RestoreCpus();
  void UnmountJoinedRoot();
  const plan::JoinNamespace* JoinedMounts() const;
  absl::Status Converse();
  absl::Status TellExists();
  absl::Status OrderStart();
  absl::Status Handle(const Message& message, int fd, bool* done);
  void Undo();

  const ExecuteOptions& options_;
  Preparation preparation_;
  NetDeviceMoves net_devices_;
  sys::UniqueFd child_end_;
  Executed result_;
  bool has_start_ = false;  // the plan has AwaitStart
  bool silent_ = true;      // nothing that the child sends before it is ready needs us
  bool accepted_ = false;
  const plan::HostHooks* host_hooks_ = nullptr;
  pid_t helper_ = 0;           // to be reaped
  sys::PidFd parents_helper_;  // to be waited for: our parent reaps it
  const char* helper_step_ = "";
};

absl::Status Execution::Attempt() {
  GANTRY_RETURN_IF_ERROR(Prepare(options_, &preparation_));
  result_.cgroup = preparation_.cgroup;
  result_.warnings = preparation_.warnings;
  if (JoinedMounts() != nullptr) result_.joined_root = MountId(preparation_.slots[plan::kRootSlot].get());
  for (size_t i = preparation_.prepared.first; i < options_.plan->operations.size(); i++) {
    const plan::Operation& operation = options_.plan->operations[i];
    has_start_ = has_start_ || std::holds_alternative<plan::AwaitStart>(operation);
    if (const auto* hooks = std::get_if<plan::HostHooks>(&operation)) host_hooks_ = hooks;
    silent_ = silent_ && !std::holds_alternative<plan::HostHooks>(operation) &&
              !std::holds_alternative<plan::OpenTerminal>(operation) &&
              !std::holds_alternative<plan::MountRootByPath>(operation) &&
              !std::holds_alternative<plan::MoveNetDevice>(operation);  // which a failure takes back
    const int error = sys::Failpoint(absl::StrCat("linux.", std::visit(OperationName{}, operation)));
    if (error != 0) {
      preparation_.prepared.fail_at = i;
      preparation_.prepared.fail_errno = error;
    }
  }
  GANTRY_ASSIGN_OR_RETURN(sys::SocketPair pair, sys::MakeSocketPair(SOCK_SEQPACKET));
  result_.control = std::move(pair.first);
  child_end_ = std::move(pair.second);
  preparation_.prepared.sync = child_end_.get();
  GANTRY_RETURN_IF_ERROR(CloneChild());
  RestoreCpus();
  if (options_.cloned != nullptr) *options_.cloned = true;
  child_end_.reset();
  preparation_.join = {};
  GANTRY_RETURN_IF_ERROR(FillStates(options_, result_.pid, &preparation_));
  GANTRY_RETURN_IF_ERROR(RunParentOperations());
  // What the caller does meanwhile costs no time: the child is at work.
  if (host_hooks_ == nullptr) GANTRY_RETURN_IF_ERROR(TellExists());
  if (options_.start_at_once && has_start_ && silent_ && options_.listen_fd < 0 &&
      !preparation_.scope.held()) {
    GANTRY_RETURN_IF_ERROR(OrderStart());
  } else {
    GANTRY_RETURN_IF_ERROR(Converse());
  }
  // The child has joined: the scope of systemd's is its own.
  GANTRY_RETURN_IF_ERROR(preparation_.scope.Finish());
  if (host_hooks_ != nullptr) GANTRY_RETURN_IF_ERROR(TellExists());
  ReapHelper();
  if (!preparation_.slots.empty() && preparation_.slots[plan::kRootSlot]) {
    result_.root_mount = std::move(preparation_.slots[plan::kRootSlot]);
  }
  if (options_.listen_fd >= 0 || !has_start_) result_.control.reset();
  return absl::OkStatus();
}

absl::Status Execution::CloneChild() {
  if (const int error = sys::Failpoint("linux.Clone"))
    return sys::ErrnoStatus("failpoint", "linux.Clone", error);
  struct clone_args args = {};
  args.flags = preparation_.clone->flags.value | CLONE_PIDFD;
  // Nobody in the namespaces that the child enters may look into it before its execve (CVE-2016-9962): it is
  // born undumpable. No handler of ours runs in it.
  if (!preparation_.clone->dumpable) prctl(PR_SET_DUMPABLE, 0);
  sigset_t all, old;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &old);
  absl::Status status = preparation_.clone->helper ? CloneByHelper(args) : CloneDirectly(args);
  sigprocmask(SIG_SETMASK, &old, nullptr);
  prctl(PR_SET_DUMPABLE, 1);
  return status;
}

// Of the child, or of the helper whose child inherits it.
void Execution::EnterUnifiedCgroup(struct clone_args* args) {
  if (!preparation_.join.unified) return;
  args->flags |= CLONE_INTO_CGROUP;
  args->cgroup = static_cast<uint64_t>(preparation_.join.unified.get());
}

absl::Status Execution::CloneDirectly(struct clone_args args) {
  EnterUnifiedCgroup(&args);
  int pidfd = -1;
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  if (options_.clone_parent) {
    args.flags |= CLONE_PARENT;
  } else {
    args.exit_signal = SIGCHLD;
  }
  const pid_t pid = static_cast<pid_t>(syscall(SYS_clone3, &args, sizeof args));
  if (pid < 0) return sys::ErrnoStatus("clone3", "the container's process");
  if (pid == 0) Child(preparation_.prepared).Run();
  result_.pid = pid;
  result_.pidfd = sys::PidFd(sys::UniqueFd(pidfd));
  return absl::OkStatus();
}

absl::Status Execution::CloneByHelper(struct clone_args args) {
  GANTRY_ASSIGN_OR_RETURN(sys::SocketPair pair, sys::MakeSocketPair(SOCK_SEQPACKET));
  struct clone_args helper = {};
  EnterUnifiedCgroup(&helper);
  int helper_pidfd = -1;
  if (options_.clone_parent) {
    helper.flags |= CLONE_PARENT | CLONE_PIDFD;
    helper.pidfd = reinterpret_cast<uint64_t>(&helper_pidfd);
  } else {
    helper.exit_signal = SIGCHLD;
  }
  const pid_t helper_pid = static_cast<pid_t>(syscall(SYS_clone3, &helper, sizeof helper));
  if (helper_pid < 0) return sys::ErrnoStatus("clone3", "a helper");
  if (helper_pid == 0) RunHelper(args, pair.second.get());
  pair.second.reset();
  Message message;
  int pidfd = -1;
  const int error = ReceiveMessage(pair.first.get(), &message, &pidfd);
  if (options_.clone_parent) {
    parents_helper_ = sys::PidFd(sys::UniqueFd(helper_pidfd));
  } else {
    helper_ = helper_pid;
  }
  if (error != 0) return sys::ErrnoStatus("helper", "entering namespaces", error);
  if (message.kind == MessageKind::kFailed) return StatusOf(message);
  result_.pid = message.error;  // the pid: the helper's own pid namespace is ours
  result_.pidfd = sys::PidFd(sys::UniqueFd(pidfd));
  return absl::OkStatus();
}

// It has ended, or is about to: later than its message, so that nobody sleeps for it. It is in the container's cgroup,
// and nobody is to see it there.
void Execution::ReapHelper() {
  if (parents_helper_.valid()) parents_helper_.WaitExited(absl::Seconds(10));
  parents_helper_ = sys::PidFd();
  while (helper_ > 0 && waitpid(helper_, nullptr, 0) < 0 && errno == EINTR) {
  }
  helper_ = 0;
}

// In the helper: nothing allocates.
bool Execution::JoinInit(const plan::JoinProcess& join) {
  const std::vector<int>& tasks = preparation_.prepared.cgroup_tasks;
  helper_step_ = "join the cgroup";
  size_t failed = 0;
  errno = cgroup::JoinSelf(tasks.data(), tasks.size(), &failed);
  if (errno != 0) return false;
  helper_step_ = "setns";
  if (join.flags.value != 0 && setns(options_.init_pidfd, static_cast<int>(join.flags.value)) != 0)
    return false;
  if (!join.enter_root) return true;
  helper_step_ = "chroot";
  return fchdir(options_.init_root) == 0 && chroot(".") == 0;
}

// What the child will use, and nothing else: for the time in which the container can see it.
void Execution::CloseAllButTheChilds(int report) {
  const Prepared& prepared = preparation_.prepared;
  int agent = -1, proc = -1, preserve = 0;
  for (const plan::Operation& operation : options_.plan->operations) {
    if (const auto* load = std::get_if<plan::LoadSeccomp>(&operation)) {
      if (load->agent != plan::kNoSlot) agent = prepared.slots[static_cast<size_t>(load->agent)];
    } else if (std::holds_alternative<plan::SetLabel>(operation)) {
      proc = prepared.proc;
    } else if (const auto* close = std::get_if<plan::CloseDescriptors>(&operation)) {
      preserve = close->preserve;
    }
  }
  int keep[] = {report, prepared.sync, agent, proc, prepared.stdio[0], prepared.stdio[1], prepared.stdio[2]};
  std::sort(std::begin(keep), std::end(keep));
  int from = 3 + preserve;
  for (const int fd : keep) {
    if (fd < from) continue;
    if (fd > from) sys::CloseRange(static_cast<unsigned>(from), static_cast<unsigned>(fd - 1), 0);
    from = fd + 1;
  }
  sys::CloseRange(static_cast<unsigned>(from), UINT_MAX, 0);
}

bool Execution::EnterNamespaces() {
  for (const plan::Operation& operation : options_.plan->operations) {
    if (const auto* process = std::get_if<plan::JoinProcess>(&operation)) {
      if (!JoinInit(*process)) return false;
    }
    const auto* join = std::get_if<plan::JoinNamespace>(&operation);
    if (join == nullptr || !join->by_helper) continue;
    helper_step_ = "setns";
    if (setns(preparation_.prepared.slots[static_cast<size_t>(join->slot)], 0) != 0) return false;
  }
  if ((preparation_.clone->flags.value & kCloneNewTime) == 0) return true;
  helper_step_ = "unshare the time namespace";
  if (unshare(CLONE_NEWTIME) != 0) return false;
  if (preparation_.clone->time_offsets.empty()) return true;
  helper_step_ = "write timens_offsets";
  const int fd = openat(preparation_.prepared.proc, "self/timens_offsets", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return false;
  for (const auto& [clock, offset] : preparation_.clone->time_offsets) {
    char line[96];
    const int size = snprintf(line, sizeof line, "%s %lld %u\n", clock.c_str(),
                              static_cast<long long>(offset.secs), offset.nanosecs);
    if (write(fd, line, static_cast<size_t>(size)) != size) return false;
  }
  close(fd);
  return true;
}

void Execution::RunHelper(struct clone_args args, int report) {
  Message message;
  message.kind = MessageKind::kFailed;
  // The file of the offsets belongs to root, which an undumpable process does not look like.
  prctl(PR_SET_DUMPABLE, 1);
  bool ok = EnterNamespaces();
  prctl(PR_SET_DUMPABLE, 0);
  pid_t pid = -1;
  int pidfd = -1;
  if (ok) {
    if (options_.init_pidfd >= 0) CloseAllButTheChilds(report);
    helper_step_ = "clone3";
    args.flags = (args.flags & ~kCloneNewTime) | CLONE_PARENT;
    args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
    pid = static_cast<pid_t>(syscall(SYS_clone3, &args, sizeof args));
    if (pid == 0) {
      close(report);
      Child(preparation_.prepared).Run();
    }
    ok = pid > 0;
  }
  if (ok) {
    message.kind = MessageKind::kGo;
    message.error = pid;
  } else {
    message.error = errno;
    snprintf(message.step, sizeof message.step, "%s", helper_step_);
    snprintf(message.detail, sizeof message.detail, "for the namespaces of the container");
  }
  SendMessage(report, message, pidfd);
  _exit(0);
}

void Execution::RestoreCpus() {
  const std::vector<uint64_t>& cpus = preparation_.old_cpus;
  if (!cpus.empty()) syscall(SYS_sched_setaffinity, 0, cpus.size() * sizeof(uint64_t), cpus.data());
}

absl::Status Execution::LetChildGoOn() {
  Message go;
  go.kind = MessageKind::kGo;
  const int error = SendMessage(result_.control.get(), go);
  return error == 0 ? absl::OkStatus() : sys::ErrnoStatus("send", "to the container's process", error);
}

absl::Status Execution::RunParentOperations() {
  for (const plan::Operation& operation : options_.plan->operations) {
    if (const auto* maps = std::get_if<plan::WriteIdMaps>(&operation)) {
      GANTRY_RETURN_IF_ERROR(WriteIdMaps(preparation_.proc.get(), result_.pid, *maps));
      GANTRY_RETURN_IF_ERROR(LetChildGoOn());
    } else if (const auto* device = std::get_if<plan::MoveNetDevice>(&operation)) {
      const int network = device->network == plan::kNoSlot
                              ? -1
                              : preparation_.slots[static_cast<size_t>(device->network)].get();
      GANTRY_RETURN_IF_ERROR(net_devices_.Move(*device, preparation_.proc.get(), result_.pid, network));
    } else if (std::holds_alternative<plan::AwaitNetDevices>(operation)) {
      GANTRY_RETURN_IF_ERROR(LetChildGoOn());
    } else if (const auto* group = std::get_if<plan::JoinResctrlGroup>(&operation)) {
      GANTRY_ASSIGN_OR_RETURN(const std::string root, FindResctrl());
      GANTRY_RETURN_IF_ERROR(JoinResctrlGroup(root, *group, result_.pid));
    } else if (const auto* score = std::get_if<plan::SetOomScore>(&operation)) {
      absl::Status status = sys::WriteControlFile(preparation_.proc.get(),
                                                  absl::StrCat(result_.pid, "/oom_score_adj"), score->value);
      if (sys::ErrnoOf(status) == EACCES || sys::ErrnoOf(status) == EPERM) {
        result_.warnings.push_back(
            absl::StrCat("process.oomScoreAdj ", score->value, " is left out: CAP_SYS_RESOURCE is missing"));
      } else if (!status.ok()) {
        return status;
      }
    }
  }
  return absl::OkStatus();
}

absl::Status Execution::Handle(const Message& message, int fd, bool* done) {
  switch (message.kind) {
    case MessageKind::kTerminal:
      result_.terminal.reset(fd);
      result_.terminal_name = message.detail;
      return absl::OkStatus();
    case MessageKind::kRoot:
      preparation_.slots[plan::kRootSlot].reset(fd);
      return absl::OkStatus();
    case MessageKind::kWarning:
      result_.warnings.push_back(WarningOf(message));
      return absl::OkStatus();
    case MessageKind::kHooks: {
      if (host_hooks_ != nullptr && options_.host_hooks) {
        GANTRY_RETURN_IF_ERROR(options_.host_hooks(*host_hooks_, result_.pid));
      }
      return LetChildGoOn();
    }
    case MessageKind::kReady:
      *done = true;
      return absl::OkStatus();
    case MessageKind::kAccepted:
      accepted_ = true;
      return absl::OkStatus();
    case MessageKind::kFailed:
      return StatusOf(message);
    default:
      return absl::InternalError("a message of no known kind from the container's process");
  }
}

absl::Status Execution::TellExists() { return options_.exists ? options_.exists(result_) : absl::OkStatus(); }

absl::Status Execution::OrderStart() {
  Message start;
  start.kind = MessageKind::kStart;
  // A child that has failed already is told of by what it has sent.
  const int error = SendMessage(result_.control.get(), start);
  if (error != 0 && error != EPIPE) return sys::ErrnoStatus("send", "the order to start", error);
  result_.ordered = true;
  return absl::OkStatus();
}

absl::Status Execution::Converse() {
  bool done = false;
  // Woken once, by the end of the conversation, rather than by each of its messages.
  if (silent_ && !has_start_) AwaitHangup(result_.control.get());
  while (!done) {
    Message message;
    int fd = -1;
    const int error = ReceiveMessage(result_.control.get(), &message, &fd);
    if (error == EPIPE && !has_start_ && accepted_) return absl::OkStatus();  // closed by execve
    if (error != 0) {
      return absl::InternalError(
          "the container's process ended while it was set up (killed, or out of memory?)");
    }
    const bool keeps = message.kind == MessageKind::kTerminal || message.kind == MessageKind::kRoot;
    sys::UniqueFd unwanted(keeps ? -1 : fd);
    GANTRY_RETURN_IF_ERROR(Handle(message, fd, &done));
  }
  return absl::OkStatus();
}

// In a namespace of others the root would stay mounted.
void Execution::UnmountJoinedRoot() {
  if (preparation_.slots.empty() || !preparation_.slots[plan::kRootSlot]) return;
  const plan::JoinNamespace* join = JoinedMounts();
  if (join == nullptr) return;
  UnmountIn(preparation_.slots[static_cast<size_t>(join->slot)].get(),
            preparation_.slots[plan::kRootSlot].get())
      .IgnoreError();
}

const plan::JoinNamespace* Execution::JoinedMounts() const {
  for (const plan::Operation& operation : options_.plan->operations) {
    const auto* join = std::get_if<plan::JoinNamespace>(&operation);
    if (join != nullptr && join->type == oci::NamespaceType::kMount) return join;
  }
  return nullptr;
}

void Execution::Undo() {
  net_devices_.Undo();
  UnmountJoinedRoot();
  ReapHelper();
  if (result_.pidfd.valid()) {
    result_.pidfd.Signal(SIGKILL).IgnoreError();
    if (options_.clone_parent) {
      result_.pidfd.WaitExited(absl::Seconds(10));
    } else {
      result_.pidfd.Reap(sys::PidFd::Block::kWait).status().IgnoreError();
    }
  }
  if (preparation_.made_cgroup) {
    preparation_.cgroup.KillAll(SIGKILL).IgnoreError();
    preparation_.cgroup.Delete().IgnoreError();
  }
  RemoveResctrlGroups(preparation_.resctrl_groups).IgnoreError();
}

}  // namespace

absl::StatusOr<Executed> Execute(const ExecuteOptions& options) { return Execution(options).Run(); }

}  // namespace gantry::linux
