#include <linux/capability.h>
#include <linux/ioprio.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <sys/personality.h>
#include <sys/resource.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/plan/bit_list.h"
#include "runtime/plan/builder.h"
#include "runtime/plan/capabilities.h"
#include "runtime/sys/status.h"

namespace gantry::plan {
namespace {

struct Name {
  const char* name;
  int value;
};

constexpr Name kRlimits[] = {{"RLIMIT_AS", RLIMIT_AS},
                             {"RLIMIT_CORE", RLIMIT_CORE},
                             {"RLIMIT_CPU", RLIMIT_CPU},
                             {"RLIMIT_DATA", RLIMIT_DATA},
                             {"RLIMIT_FSIZE", RLIMIT_FSIZE},
                             {"RLIMIT_LOCKS", RLIMIT_LOCKS},
                             {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
                             {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
                             {"RLIMIT_NICE", RLIMIT_NICE},
                             {"RLIMIT_NOFILE", RLIMIT_NOFILE},
                             {"RLIMIT_NPROC", RLIMIT_NPROC},
                             {"RLIMIT_RSS", RLIMIT_RSS},
                             {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
                             {"RLIMIT_RTTIME", RLIMIT_RTTIME},
                             {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
                             {"RLIMIT_STACK", RLIMIT_STACK}};

constexpr Name kPolicies[] = {{"SCHED_OTHER", 0}, {"SCHED_FIFO", 1}, {"SCHED_RR", 2},      {"SCHED_BATCH", 3},
                              {"SCHED_ISO", 4},   {"SCHED_IDLE", 5}, {"SCHED_DEADLINE", 6}};

constexpr Name kSchedulerFlags[] = {{"SCHED_FLAG_RESET_ON_FORK", SCHED_FLAG_RESET_ON_FORK},
                                    {"SCHED_FLAG_RECLAIM", SCHED_FLAG_RECLAIM},
                                    {"SCHED_FLAG_DL_OVERRUN", SCHED_FLAG_DL_OVERRUN},
                                    {"SCHED_FLAG_KEEP_POLICY", SCHED_FLAG_KEEP_POLICY},
                                    {"SCHED_FLAG_KEEP_PARAMS", SCHED_FLAG_KEEP_PARAMS},
                                    {"SCHED_FLAG_UTIL_CLAMP_MIN", SCHED_FLAG_UTIL_CLAMP_MIN},
                                    {"SCHED_FLAG_UTIL_CLAMP_MAX", SCHED_FLAG_UTIL_CLAMP_MAX}};

constexpr Name kIoClasses[] = {{"IOPRIO_CLASS_RT", IOPRIO_CLASS_RT},
                               {"IOPRIO_CLASS_BE", IOPRIO_CLASS_BE},
                               {"IOPRIO_CLASS_IDLE", IOPRIO_CLASS_IDLE}};

constexpr int kWaitKillable = 1 << 5;  // SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, Linux 5.19
constexpr Name kSeccompFlags[] = {{"SECCOMP_FILTER_FLAG_TSYNC", SECCOMP_FILTER_FLAG_TSYNC},
                                  {"SECCOMP_FILTER_FLAG_LOG", SECCOMP_FILTER_FLAG_LOG},
                                  {"SECCOMP_FILTER_FLAG_SPEC_ALLOW", SECCOMP_FILTER_FLAG_SPEC_ALLOW},
                                  {"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", kWaitKillable}};

template <size_t N>
absl::StatusOr<int> Find(const Name (&names)[N], absl::string_view name, absl::string_view member) {
  for (const Name& known : names) {
    if (name == known.name) return known.value;
  }
  return absl::InvalidArgumentError(absl::StrCat(member, ": unknown name \"", name, "\""));
}

absl::Status PlanLimits(const oci::Process& process, Builder* builder) {
  for (const oci::Rlimit& limit : process.rlimits) {
    GANTRY_ASSIGN_OR_RETURN(const int resource, Find(kRlimits, limit.type, "process.rlimits"));
    if (limit.soft > limit.hard) {
      return absl::InvalidArgumentError(
          absl::StrCat("process.rlimits: ", limit.type, ": the soft limit must not exceed the hard one"));
    }
    builder->Child(SetRlimit{limit.type, resource, limit.soft, limit.hard});
  }
  if (process.oom_score_adj.has_value()) {
    // First: while the maps are awaited, an ordinary user may write the child's files.
    builder->parent.insert(builder->parent.begin(), SetOomScore{absl::StrCat(*process.oom_score_adj)});
  }
  return absl::OkStatus();
}

absl::Status PlanScheduling(const oci::Process& process, Builder* builder) {
  if (process.scheduler.has_value()) {
    const oci::Scheduler& wanted = *process.scheduler;
    SetScheduler operation;
    GANTRY_ASSIGN_OR_RETURN(const int policy, Find(kPolicies, wanted.policy, "process.scheduler.policy"));
    operation.policy = static_cast<uint32_t>(policy);
    for (const std::string& flag : wanted.flags) {
      GANTRY_ASSIGN_OR_RETURN(const int bit, Find(kSchedulerFlags, flag, "process.scheduler.flags"));
      operation.flags |= static_cast<uint64_t>(bit);
    }
    operation.nice = wanted.nice;
    operation.priority = static_cast<uint32_t>(wanted.priority);
    operation.runtime = wanted.runtime;
    operation.deadline = wanted.deadline;
    operation.period = wanted.period;
    builder->Child(operation);
  }
  if (process.io_priority.has_value()) {
    GANTRY_ASSIGN_OR_RETURN(const int io_class,
                            Find(kIoClasses, process.io_priority->cls, "process.ioPriority.class"));
    const int level = process.io_priority->priority;
    if (level < 0 || level > 7) {
      return absl::InvalidArgumentError(
          absl::StrCat("process.ioPriority.priority: must be 0 to 7, found ", level));
    }
    builder->Child(SetIoPriority{static_cast<int>(IOPRIO_PRIO_VALUE(io_class, level))});
  }
  return absl::OkStatus();
}

absl::Status PlanAffinity(const oci::Process& process, Builder* builder) {
  if (!process.exec_cpu_affinity.has_value()) return absl::OkStatus();
  const oci::ExecCpuAffinity& affinity = *process.exec_cpu_affinity;
  if (!affinity.initial.empty()) {
    RunOnCpus operation;
    GANTRY_ASSIGN_OR_RETURN(operation.mask,
                            ParseBitList(affinity.initial, "process.execCPUAffinity.initial"));
    builder->Before(std::move(operation));
  }
  if (!affinity.final.empty()) {
    SetCpuAffinity operation;
    GANTRY_ASSIGN_OR_RETURN(operation.mask, ParseBitList(affinity.final, "process.execCPUAffinity.final"));
    builder->Child(std::move(operation));
  }
  return absl::OkStatus();
}

absl::Status PlanPersonality(const oci::Linux& section, Builder* builder) {
  if (!section.personality.has_value()) return absl::OkStatus();
  if (!section.personality->flags.empty()) {
    return absl::InvalidArgumentError("linux.personality.flags: none is defined; leave the list empty");
  }
  const std::string& domain = section.personality->domain;
  if (domain != "LINUX" && domain != "LINUX32") {
    return absl::InvalidArgumentError(
        absl::StrCat("linux.personality.domain: must be LINUX or LINUX32; found \"", domain, "\""));
  }
  builder->Child(SetPersonality{static_cast<uint64_t>(domain == "LINUX32" ? PER_LINUX32 : PER_LINUX)});
  return absl::OkStatus();
}

absl::Status PlanLabels(const oci::Process& process, Builder* builder) {
  if (!process.apparmor_profile.empty()) {
    if (!builder->facts.apparmor) {
      return absl::FailedPreconditionError(
          absl::StrCat("process.apparmorProfile: this host has no AppArmor to apply \"",
                       process.apparmor_profile, "\"; remove the setting or enable AppArmor"));
    }
    builder->Child(SetLabel{"self/attr/apparmor/exec", absl::StrCat("exec ", process.apparmor_profile)});
  }
  if (!process.selinux_label.empty()) {
    if (!builder->facts.selinux) {
      return absl::FailedPreconditionError(
          "process.selinuxLabel: this host has no SELinux; remove the setting or enable SELinux");
    }
    builder->Child(SetLabel{"self/attr/exec", process.selinux_label});
  }
  return absl::OkStatus();
}

// The mask of these names. What the kernel does not know, or we do not have ourselves, is left out with a
// warning, as runtime.md asks.
uint64_t CapabilityMask(const std::vector<std::string>& names, absl::string_view set, Builder* builder) {
  // In a user namespace of its own a process has them all.
  const uint64_t available =
      builder->user_namespace ? builder->facts.known_capabilities : builder->facts.capabilities;
  uint64_t mask = 0;
  for (const std::string& name : names) {
    const int bit = CapabilityBit(name);
    if (bit == CAP_SYS_CHROOT && builder->only_chroot) {
      builder->warnings.push_back(
          absl::StrCat("process.capabilities.", set,
                       ": CAP_SYS_CHROOT is left out: in a mount namespace of others it would "
                       "lead out of the container's root"));
    } else if (bit < 0) {
      builder->warnings.push_back(absl::StrCat("process.capabilities.", set, ": unknown capability ", name));
    } else if ((available >> bit & 1) == 0) {
      builder->warnings.push_back(
          absl::StrCat("process.capabilities.", set, ": ", name, " is left out: it is not ours to give"));
    } else {
      mask |= uint64_t{1} << bit;
    }
  }
  return mask;
}

SetCapabilities MakeCapabilities(const oci::Process& process, Builder* builder) {
  SetCapabilities result;
  if (!process.capabilities.has_value()) return result;  // none at all
  const oci::Capabilities& wanted = *process.capabilities;
  result.bounding = CapabilityMask(wanted.bounding, "bounding", builder);
  result.permitted = CapabilityMask(wanted.permitted, "permitted", builder);
  // What the kernel would refuse as a whole is cut to what it takes.
  result.effective = CapabilityMask(wanted.effective, "effective", builder) & result.permitted;
  result.inheritable = CapabilityMask(wanted.inheritable, "inheritable", builder);
  result.ambient = CapabilityMask(wanted.ambient, "ambient", builder) & result.permitted & result.inheritable;
  return result;
}

FindProgram MakeFindProgram(const oci::Process& process) {
  FindProgram result;
  result.name = process.args[0];
  if (absl::StrContains(result.name, '/')) {
    result.candidates.push_back(result.name);
    return result;
  }
  absl::string_view path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
  for (const std::string& variable : process.env) {
    if (absl::StartsWith(variable, "PATH=")) path = absl::string_view(variable).substr(5);
  }
  for (absl::string_view directory : absl::StrSplit(path, ':')) {
    result.candidates.push_back(absl::StrCat(directory.empty() ? "." : directory, "/", result.name));
  }
  return result;
}

absl::Status PlanSeccomp(const oci::Seccomp& profile, Builder* builder, LoadSeccomp* load) {
  for (const std::string& flag : profile.flags) {
    GANTRY_ASSIGN_OR_RETURN(const int bit, Find(kSeccompFlags, flag, "linux.seccomp.flags"));
    load->flags |= static_cast<uint32_t>(bit);
  }
  bool notify = profile.default_action == oci::SeccompAction::kNotify;
  for (const oci::SeccompSyscall& rule : profile.syscalls) {
    notify = notify || rule.action == oci::SeccompAction::kNotify;
  }
  builder->Before(CompileSeccomp{profile});
  // The process has one thread; and the kernel refuses each of these where it has no meaning.
  load->flags &= ~static_cast<uint32_t>(notify ? SECCOMP_FILTER_FLAG_TSYNC : kWaitKillable);
  if (!notify) return absl::OkStatus();
  if (profile.listener_path.empty()) {
    return absl::InvalidArgumentError("linux.seccomp.listenerPath: SCMP_ACT_NOTIFY needs an agent's socket");
  }
  load->agent = builder->NewSlot();
  load->agent_metadata = profile.listener_metadata;
  load->flags |= SECCOMP_FILTER_FLAG_NEW_LISTENER;
  builder->Before(ConnectSeccompAgent{load->agent, profile.listener_path});
  return absl::OkStatus();
}

bool GroupsAreDenied(const Builder& builder) {
  for (const Operation& operation : builder.parent) {
    const auto* maps = std::get_if<WriteIdMaps>(&operation);
    if (maps != nullptr && maps->deny_setgroups) return true;
  }
  return false;
}

// From the user on: what may fail is done before the program is started, the filter after.
absl::Status PlanUserAndProgram(const ProcessContext& context, Builder* builder) {
  const oci::Process& process = *context.process;
  const bool has_home = std::any_of(process.env.begin(), process.env.end(), [](const std::string& variable) {
    return absl::StartsWith(variable, "HOME=");
  });
  if (!has_home) builder->Child(FindHome{process.user.uid});
  builder->Child(EnterDirectory{process.cwd, !context.exec, true});
  SetCapabilities capabilities = MakeCapabilities(process, builder);
  LoadSeccomp load;
  const bool filter = context.linux_section != nullptr && context.linux_section->seccomp.has_value();
  if (filter) GANTRY_RETURN_IF_ERROR(PlanSeccomp(*context.linux_section->seccomp, builder, &load));
  // Without no_new_privs a filter needs CAP_SYS_ADMIN.
  capabilities.final = process.no_new_privileges || !filter;
  // As late as our right to raise them allows: a tight limit binds the program, not what sets it up.
  GANTRY_RETURN_IF_ERROR(PlanLimits(process, builder));
  if (process.user.umask.has_value()) builder->Child(SetUmask{*process.user.umask});
  const bool denied = GroupsAreDenied(*builder);
  if (denied && !process.user.additional_gids.empty()) {
    return absl::FailedPreconditionError(
        "process.user.additionalGids: a user who maps only his own group may not set groups; map more with "
        "/etc/subgid, or leave them out");
  }
  builder->Child(SetUser{process.user.uid, process.user.gid, process.user.additional_gids, !denied});
  builder->Child(capabilities);
  builder->Child(EnterDirectory{process.cwd, false, false});
  // Closed first: a program named /proc/self/fd/N/... must not be found through a descriptor of ours.
  builder->Child(CloseDescriptors{context.preserve_fds});
  builder->Child(MakeFindProgram(process));
  if (!context.exec) builder->Child(AwaitStart{});
  if (context.start_hooks != nullptr && !context.start_hooks->empty()) {
    builder->Child(ContainerHooks{true, *context.start_hooks});
  }
  if (process.no_new_privileges) builder->Child(SetNoNewPrivileges{});
  if (filter) builder->Child(std::move(load));
  if (!capabilities.final) {
    capabilities.final = true;
    builder->Child(capabilities);
  }
  builder->Child(Exec{process.args, process.env, !has_home});
  return absl::OkStatus();
}

}  // namespace

absl::Status PlanProcess(const ProcessContext& context, Builder* builder) {
  const oci::Process& process = *context.process;
  if (process.args.empty()) {
    return absl::InvalidArgumentError("process.args: must name a program");
  }
  if (!context.keyring.empty()) builder->Child(NewKeyring{context.keyring});
  GANTRY_RETURN_IF_ERROR(PlanScheduling(process, builder));
  if (context.exec) GANTRY_RETURN_IF_ERROR(PlanAffinity(process, builder));
  if (context.linux_section != nullptr) {
    GANTRY_RETURN_IF_ERROR(PlanMemoryPolicy(*context.linux_section, builder));
    GANTRY_RETURN_IF_ERROR(PlanPersonality(*context.linux_section, builder));
  }
  GANTRY_RETURN_IF_ERROR(PlanLabels(process, builder));
  return PlanUserAndProgram(context, builder);
}

}  // namespace gantry::plan
