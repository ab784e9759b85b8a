// The rules of config.md, "Process".
#include <set>

#include "absl/strings/str_cat.h"
#include "runtime/oci/validate.h"
#include "runtime/sys/status.h"

namespace gantry::oci {
namespace {

using internal::CheckCpuList;
using internal::OneOf;
using internal::Quoted;
using internal::Violation;

// setuid(2) and friends read it as "no change": the process would stay root.
constexpr uint32_t kNoId = 0xffffffff;

absl::Status CheckUser(const User& user) {
  constexpr absl::string_view kRule = "must not be 4294967295, which means \"no change\" to the kernel";
  if (user.uid == kNoId) return Violation("user.uid", kRule);
  if (user.gid == kNoId) return Violation("user.gid", kRule);
  for (const uint32_t gid : user.additional_gids) {
    if (gid == kNoId) return Violation("user.additionalGids", kRule);
  }
  constexpr size_t kMaxGroups = 65536;  // NGROUPS_MAX
  if (user.additional_gids.size() > kMaxGroups) {
    return Violation("user.additionalGids", absl::StrCat("must not hold more than ", kMaxGroups, " groups"));
  }
  if (user.umask.has_value() && *user.umask > 0777) {
    return Violation("user.umask", absl::StrCat("must be from 0 to 511 (octal 777), found ", *user.umask));
  }
  return absl::OkStatus();
}

absl::Status CheckRlimits(const std::vector<Rlimit>& rlimits) {
  std::set<absl::string_view> seen;
  for (size_t i = 0; i < rlimits.size(); ++i) {
    const Rlimit& limit = rlimits[i];
    const std::string name = absl::StrCat("rlimits[", i, "]");
    if (!OneOf(limit.type,
               {"RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_LOCKS",
                "RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_NOFILE", "RLIMIT_NPROC",
                "RLIMIT_RSS", "RLIMIT_RTPRIO", "RLIMIT_RTTIME", "RLIMIT_SIGPENDING", "RLIMIT_STACK"})) {
      return Violation(name + ".type",
                       absl::StrCat("must be a limit of getrlimit(2), such as \"RLIMIT_NOFILE\", found ",
                                    Quoted(limit.type)));
    }
    if (!seen.insert(limit.type).second) return Violation(name, absl::StrCat(limit.type, " is listed twice"));
    if (limit.soft > limit.hard) {
      return Violation(name,
                       absl::StrCat("soft must not exceed hard, found ", limit.soft, " and ", limit.hard));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckScheduler(const Scheduler& scheduler) {
  if (!OneOf(scheduler.policy, {"SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO",
                                "SCHED_IDLE", "SCHED_DEADLINE"})) {
    return Violation("scheduler.policy",
                     absl::StrCat("must be a policy of sched(7), such as \"SCHED_BATCH\", found ",
                                  Quoted(scheduler.policy)));
  }
  if (scheduler.nice < -20 || scheduler.nice > 19) {
    return Violation("scheduler.nice", absl::StrCat("must be from -20 to 19, found ", scheduler.nice));
  }
  const bool realtime = OneOf(scheduler.policy, {"SCHED_FIFO", "SCHED_RR"});
  if (!realtime && scheduler.priority != 0) {
    return Violation("scheduler.priority", "can only be set for SCHED_FIFO and SCHED_RR");
  }
  if (realtime && (scheduler.priority < 1 || scheduler.priority > 99)) {
    return Violation("scheduler.priority", absl::StrCat("must be from 1 to 99, found ", scheduler.priority));
  }
  const bool deadline = scheduler.policy == "SCHED_DEADLINE";
  if (!deadline && (scheduler.runtime != 0 || scheduler.deadline != 0 || scheduler.period != 0)) {
    return Violation("scheduler", "runtime, deadline and period can only be set for SCHED_DEADLINE");
  }
  for (const std::string& flag : scheduler.flags) {
    if (!OneOf(flag, {"SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_RECLAIM", "SCHED_FLAG_DL_OVERRUN",
                      "SCHED_FLAG_KEEP_POLICY", "SCHED_FLAG_KEEP_PARAMS", "SCHED_FLAG_UTIL_CLAMP_MIN",
                      "SCHED_FLAG_UTIL_CLAMP_MAX"})) {
      return Violation("scheduler.flags",
                       absl::StrCat("must be flags of sched_setattr(2), found ", Quoted(flag)));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckPriorities(const Process& process) {
  if (process.oom_score_adj.has_value() &&
      (*process.oom_score_adj < -1000 || *process.oom_score_adj > 1000)) {
    return Violation("oomScoreAdj",
                     absl::StrCat("must be from -1000 to 1000, found ", *process.oom_score_adj));
  }
  if (process.io_priority.has_value()) {
    const IoPriority& io = *process.io_priority;
    if (!OneOf(io.cls, {"IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"})) {
      return Violation("ioPriority.class",
                       absl::StrCat("must be IOPRIO_CLASS_RT, IOPRIO_CLASS_BE or IOPRIO_CLASS_IDLE, found ",
                                    Quoted(io.cls)));
    }
    if (io.priority < 0 || io.priority > 7) {
      return Violation("ioPriority.priority", absl::StrCat("must be from 0 to 7, found ", io.priority));
    }
  }
  if (process.exec_cpu_affinity.has_value()) {
    const ExecCpuAffinity& affinity = *process.exec_cpu_affinity;
    if (!affinity.initial.empty()) {
      GANTRY_RETURN_IF_ERROR(CheckCpuList("execCPUAffinity.initial", affinity.initial));
    }
    if (!affinity.final.empty())
      GANTRY_RETURN_IF_ERROR(CheckCpuList("execCPUAffinity.final", affinity.final));
  }
  if (process.scheduler.has_value()) return CheckScheduler(*process.scheduler);
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateProcess(const Process& process) {
  GANTRY_RETURN_IF_ERROR(internal::CheckCounts(process));
  if (process.args.empty()) return Violation("args", "must hold the program to run");
  if (process.args[0].empty())
    return Violation("args[0]", "must name the program to run, found an empty string");
  if (process.cwd.empty() || process.cwd[0] != '/') {
    return Violation("cwd", absl::StrCat("must be an absolute path, found ", Quoted(process.cwd)));
  }
  if (process.console_size.has_value() &&
      (process.console_size->height > 65535 || process.console_size->width > 65535)) {
    return Violation("consoleSize", "height and width must not exceed 65535");
  }
  GANTRY_RETURN_IF_ERROR(CheckUser(process.user));
  GANTRY_RETURN_IF_ERROR(CheckRlimits(process.rlimits));
  return CheckPriorities(process);
}

}  // namespace gantry::oci
