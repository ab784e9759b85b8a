#include "runtime/linux/prepare.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/nsfs.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/linux/id_maps.h"
#include "runtime/linux/mount_visit.h"
#include "runtime/linux/resctrl.h"
#include "runtime/linux/seccomp.h"
#include "runtime/sys/file.h"
#include "runtime/sys/mount_api.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/socket.h"
#include "runtime/sys/status.h"

namespace gantry::linux {
namespace {

struct NamespaceKind {
  oci::NamespaceType type;
  int flag;
  const char* file;  // below /proc/PID/ns
};
constexpr NamespaceKind kNamespaces[] = {{oci::NamespaceType::kPid, CLONE_NEWPID, "pid"},
                                         {oci::NamespaceType::kNetwork, CLONE_NEWNET, "net"},
                                         {oci::NamespaceType::kMount, CLONE_NEWNS, "mnt"},
                                         {oci::NamespaceType::kIpc, CLONE_NEWIPC, "ipc"},
                                         {oci::NamespaceType::kUts, CLONE_NEWUTS, "uts"},
                                         {oci::NamespaceType::kUser, CLONE_NEWUSER, "user"},
                                         {oci::NamespaceType::kCgroup, CLONE_NEWCGROUP, "cgroup"},
                                         {oci::NamespaceType::kTime, CLONE_NEWTIME, "time"}};

const NamespaceKind& KindOf(oci::NamespaceType type) {
  return *std::find_if(std::begin(kNamespaces), std::end(kNamespaces),
                       [type](const NamespaceKind& kind) { return kind.type == type; });
}

// A descriptor of a user namespace with these maps: of a process that is born in it and killed again.
absl::StatusOr<sys::UniqueFd> MakeUserNamespace(int proc, const std::vector<oci::IdMapping>& uids,
                                                const std::vector<oci::IdMapping>& gids) {
  struct clone_args args = {};
  int pidfd = -1;
  args.flags = CLONE_NEWUSER | CLONE_PIDFD;
  args.pidfd = reinterpret_cast<uint64_t>(&pidfd);
  args.exit_signal = SIGCHLD;
  const pid_t pid = static_cast<pid_t>(syscall(SYS_clone3, &args, sizeof args));
  if (pid < 0) return sys::ErrnoStatus("clone3", "for an id-mapped mount");
  if (pid == 0) {
    for (;;) pause();
  }
  const sys::PidFd process{sys::UniqueFd(pidfd)};
  plan::WriteIdMaps maps;
  maps.uid_mappings = uids;
  maps.gid_mappings = gids;
  absl::Status status = WriteIdMaps(proc, pid, maps);
  auto fd = sys::OpenAt(proc, absl::StrCat(pid, "/ns/user"), O_RDONLY);
  process.Signal(SIGKILL).IgnoreError();
  process.Reap(sys::PidFd::Block::kWait).status().IgnoreError();
  if (!status.ok()) return status;
  return fd;
}

struct Preparer {
  const ExecuteOptions& options;
  Preparation& p;

  absl::Status operator()(const plan::CreateCgroup& op) {
    auto made = cgroup::Cgroup::Create(op.plan, &p.scope);
    const int error = sys::ErrnoOf(made.status());
    if (op.optional && (error == EACCES || error == EPERM || error == EROFS || error == ENOENT)) {
      p.warnings.push_back(
          absl::StrCat("no cgroup, and so no limits, no pause and no statistics: ", made.status().message()));
      return absl::OkStatus();
    }
    GANTRY_ASSIGN_OR_RETURN(p.cgroup, std::move(made));
    p.made_cgroup = true;
    return absl::OkStatus();
  }

  absl::Status operator()(const plan::OpenNamespace& op) {
    const NamespaceKind& kind = KindOf(op.type);
    if (!absl::StartsWith(op.path, "/")) {
      return absl::InvalidArgumentError(
          absl::StrCat("linux.namespaces: the path \"", op.path, "\" must be absolute"));
    }
    GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd fd,
                            sys::OpenAt(AT_FDCWD, op.path, O_RDONLY | O_NONBLOCK | O_NOCTTY));
    const int type = ioctl(fd.get(), NS_GET_NSTYPE);
    if (type != kind.flag) {
      return absl::InvalidArgumentError(absl::StrCat(
          "linux.namespaces: ", op.path, " is no namespace of type ", oci::NamespaceTypeName(op.type)));
    }
    if (op.must_not_be_ours) {
      struct stat theirs, ours;
      if (fstat(fd.get(), &theirs) == 0 &&
          fstatat(p.proc.get(), absl::StrCat("self/ns/", kind.file).c_str(), &ours, 0) == 0 &&
          theirs.st_ino == ours.st_ino) {
        return absl::InvalidArgumentError(absl::StrCat("linux.sysctl: ", op.path, " is the host's own ",
                                                       oci::NamespaceTypeName(op.type), " namespace"));
      }
    }
    return Keep(op.slot, std::move(fd));
  }

  absl::Status operator()(const plan::OpenTree& op) {
    std::optional<MountVisit> visit;
    if (op.mount_namespace != plan::kNoSlot) {
      auto entered = MountVisit::Enter(p.slots[static_cast<size_t>(op.mount_namespace)].get());
      if (!entered.ok()) return entered.status();
      visit.emplace(*std::move(entered));
    }
    auto mount = sys::DetachedMount::Copy(AT_FDCWD, op.source, op.recursive);
    visit.reset();
    if (!mount.ok()) return mount.status();
    if (absl::Status status = Configure(op, *mount); !status.ok()) return sys::Annotate(status, op.source);
    return Keep(op.slot, mount->release());
  }

  absl::Status operator()(const plan::NewMount& op) {
    std::vector<sys::DetachedMount::Parameter> parameters;
    for (const plan::Param& param : op.params) {
      parameters.push_back({param.key.c_str(), param.value.has_value() ? param.value->c_str() : nullptr});
    }
    GANTRY_ASSIGN_OR_RETURN(sys::DetachedMount mount,
                            sys::DetachedMount::NewFilesystem(op.type, op.source, parameters, op.attr.set));
    if (op.attr.propagation.value != 0) {
      sys::DetachedMount::Attributes change;
      change.propagation = op.attr.propagation.value;
      GANTRY_RETURN_IF_ERROR(mount.SetAttributes(change));
    }
    return Keep(op.slot, mount.release());
  }

  absl::Status operator()(const plan::CompileSeccomp& op) {
    GANTRY_ASSIGN_OR_RETURN(p.prepared.filter, CompileSeccomp(op.profile, options.seccomp_cache));
    return absl::OkStatus();
  }

  absl::Status operator()(const plan::ConnectSeccompAgent& op) {
    auto fd = sys::ConnectUnix(op.path, SOCK_STREAM);
    if (!fd.ok()) return sys::Annotate(fd.status(), "linux.seccomp.listenerPath");
    return Keep(op.slot, *std::move(fd));
  }

  absl::Status operator()(const plan::RunOnCpus& op) {
    constexpr size_t kMaxCpus = 8192;  // as far as kernels are built
    p.old_cpus.resize(kMaxCpus / 64);
    if (syscall(SYS_sched_getaffinity, 0, kMaxCpus / 8, p.old_cpus.data()) < 0) {
      return sys::ErrnoStatus("sched_getaffinity", "");
    }
    if (syscall(SYS_sched_setaffinity, 0, op.mask.size() * sizeof(uint64_t), op.mask.data()) < 0) {
      return sys::ErrnoStatus("sched_setaffinity", "process.execCPUAffinity.initial");
    }
    return absl::OkStatus();
  }

  absl::Status operator()(const plan::OpenResctrlGroup& op) {
    GANTRY_ASSIGN_OR_RETURN(const std::string root, FindResctrl());
    return OpenResctrlGroup(root, op, &p.resctrl_groups);
  }

  template <typename Other>
  absl::Status operator()(const Other&) {
    return absl::InternalError(absl::StrCat("plan: ", Other::kName, " cannot stand before Clone"));
  }

 private:
  absl::Status Keep(plan::Slot slot, sys::UniqueFd fd) {
    p.slots[static_cast<size_t>(slot)] = std::move(fd);
    return absl::OkStatus();
  }

  absl::Status Configure(const plan::OpenTree& op, const sys::DetachedMount& mount) {
    const plan::MountAttr& attr = op.attr;
    sys::DetachedMount::Attributes change;
    if ((attr.recursive_set | attr.recursive_clear) != 0) {
      change.set = attr.recursive_set;
      change.clear = attr.recursive_clear;
      change.recursive = true;
      GANTRY_RETURN_IF_ERROR(mount.SetAttributes(change));
    }
    if (!op.uid_mappings.empty() || !op.gid_mappings.empty()) {
      GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd user,
                              MakeUserNamespace(p.proc.get(), op.uid_mappings, op.gid_mappings));
      change = {};
      change.user_namespace = user.get();
      change.recursive = op.idmap_recursive;
      GANTRY_RETURN_IF_ERROR(mount.SetAttributes(change));
    }
    change = {};
    change.set = attr.set;
    change.clear = attr.clear;
    if (!attr.propagation.recursive) change.propagation = attr.propagation.value;
    if ((change.set | change.clear | change.propagation) != 0)
      GANTRY_RETURN_IF_ERROR(mount.SetAttributes(change));
    if (attr.propagation.recursive && attr.propagation.value != 0) {
      change = {};
      change.propagation = attr.propagation.value;
      change.recursive = true;
      return mount.SetAttributes(change);
    }
    return absl::OkStatus();
  }
};

ExecVectors Vectors(const std::vector<std::string>& argv, const std::vector<std::string>& env, size_t spare) {
  ExecVectors result;
  for (const std::string& text : argv) result.argv.push_back(const_cast<char*>(text.c_str()));
  for (const std::string& text : env) result.env.push_back(const_cast<char*>(text.c_str()));
  result.argv.push_back(nullptr);
  for (size_t i = 0; i <= spare; i++) result.env.push_back(nullptr);
  return result;
}

// The vectors, and the descriptors and memory of what the child can only send or hand on when its pid is known.
absl::Status PrepareLater(const ExecuteOptions& options, Preparation* preparation) {
  Prepared& prepared = preparation->prepared;
  for (const plan::Operation& operation : options.plan->operations) {
    if (const auto* exec = std::get_if<plan::Exec>(&operation)) {
      prepared.exec = Vectors(exec->argv, exec->env, 1);
    } else if (const auto* hooks = std::get_if<plan::ContainerHooks>(&operation)) {
      for (const oci::Hook& hook : hooks->hooks) {
        const std::vector<std::string>& argv = hook.args;
        prepared.hooks.push_back(argv.empty() ? Vectors({}, hook.env, 0) : Vectors(argv, hook.env, 0));
        if (argv.empty()) {
          prepared.hooks.back().argv.insert(prepared.hooks.back().argv.begin(),
                                            const_cast<char*>(hook.path.c_str()));
        }
      }
      sys::UniqueFd& state = hooks->start ? preparation->start_hook_state : preparation->hook_state;
      state.reset(memfd_create("state", MFD_CLOEXEC));
      if (!state) return sys::ErrnoStatus("memfd_create", "for the hooks' state");
      (hooks->start ? prepared.start_hook_state : prepared.hook_state) = state.get();
    } else if (const auto* load = std::get_if<plan::LoadSeccomp>(&operation)) {
      if (load->agent == plan::kNoSlot) continue;
      // Room for the longest pid instead of the one it is made with here.
      preparation->shared_size = options.agent_message(0).size() + 64 + sizeof(size_t);
      void* memory =
          mmap(nullptr, preparation->shared_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
      if (memory == MAP_FAILED) return sys::ErrnoStatus("mmap", "for the seccomp agent");
      prepared.agent_message = preparation->shared = static_cast<char*>(memory);
    }
  }
  return absl::OkStatus();
}

absl::Status WriteState(int fd, const std::string& text) {
  if (fd < 0) return absl::OkStatus();
  return sys::WriteAll(fd, text);
}

}  // namespace

Preparation::~Preparation() {
  if (shared != nullptr) munmap(shared, shared_size);
}

absl::Status Prepare(const ExecuteOptions& options, Preparation* preparation) {
  Preparation& p = *preparation;
  GANTRY_ASSIGN_OR_RETURN(p.proc, sys::OpenAt(AT_FDCWD, "/proc", O_PATH | O_DIRECTORY));
  struct statfs fs;
  if (fstatfs(p.proc.get(), &fs) != 0 || fs.f_type != PROC_SUPER_MAGIC) {
    return absl::FailedPreconditionError("/proc is no proc file system; mount one");
  }
  p.slots.resize(static_cast<size_t>(options.plan->slots));
  Prepared& prepared = p.prepared;
  prepared.plan = options.plan;
  Preparer preparer{options, p};
  size_t i = 0;
  for (; i < options.plan->operations.size(); i++) {
    p.clone = std::get_if<plan::Clone>(&options.plan->operations[i]);
    if (p.clone != nullptr) break;
    GANTRY_RETURN_IF_ERROR(std::visit(preparer, options.plan->operations[i]));
  }
  if (p.clone == nullptr) return absl::InternalError("plan: no Clone");
  prepared.first = i + 1;
  const cgroup::Cgroup& joined = options.join_cgroup != nullptr ? *options.join_cgroup : p.cgroup;
  GANTRY_ASSIGN_OR_RETURN(p.join, joined.OpenForJoin());
  for (const sys::UniqueFd& fd : p.join.tasks) prepared.cgroup_tasks.push_back(fd.get());
  for (const sys::UniqueFd& fd : p.slots) prepared.slots.push_back(fd.get());
  prepared.proc = p.proc.get();
  prepared.init_pidfd = options.init_pidfd;
  prepared.unwanted = options.not_for_child;
  prepared.listen = options.listen_fd;
  for (int fd = 0; fd < 3; fd++) prepared.stdio[fd] = options.stdio[fd] >= 0 ? options.stdio[fd] : fd;
  return PrepareLater(options, preparation);
}

absl::Status FillStates(const ExecuteOptions& options, pid_t pid, Preparation* preparation) {
  Preparation& p = *preparation;
  if (p.hook_state) {
    GANTRY_RETURN_IF_ERROR(WriteState(p.hook_state.get(), options.state(oci::Status::kCreating, pid)));
  }
  if (p.start_hook_state) {
    GANTRY_RETURN_IF_ERROR(WriteState(p.start_hook_state.get(), options.state(oci::Status::kCreated, pid)));
  }
  if (p.shared != nullptr) {
    const std::string message = options.agent_message(pid);
    const size_t size = std::min(message.size(), p.shared_size - sizeof(size_t));
    memcpy(p.shared + sizeof size, message.data(), size);
    memcpy(p.shared, &size, sizeof size);
  }
  return absl::OkStatus();
}

}  // namespace gantry::linux
