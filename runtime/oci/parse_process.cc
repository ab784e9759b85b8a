// config.md, "Process".
#include "runtime/oci/parse.h"

namespace gantry::oci {

using internal::Field;
using internal::Node;
using internal::RequiredField;

static void Read(const Node& node, ConsoleSize* out) {
  if (!node.MustBeObject()) return;
  Field(node, "height", &out->height);
  Field(node, "width", &out->width);
}

static void Read(const Node& node, User* out) {
  if (!node.MustBeObject()) return;
  Field(node, "uid", &out->uid);
  Field(node, "gid", &out->gid);
  Field(node, "umask", &out->umask);
  Field(node, "additionalGids", &out->additional_gids);
}

static void Read(const Node& node, Capabilities* out) {
  if (!node.MustBeObject()) return;
  Field(node, "bounding", &out->bounding);
  Field(node, "effective", &out->effective);
  Field(node, "inheritable", &out->inheritable);
  Field(node, "permitted", &out->permitted);
  Field(node, "ambient", &out->ambient);
}

static void Read(const Node& node, Rlimit* out) {
  if (!node.MustBeObject()) return;
  RequiredField(node, "type", &out->type);
  RequiredField(node, "hard", &out->hard);
  RequiredField(node, "soft", &out->soft);
}

static void Read(const Node& node, Scheduler* out) {
  if (!node.MustBeObject()) return;
  RequiredField(node, "policy", &out->policy);
  Field(node, "nice", &out->nice);
  Field(node, "priority", &out->priority);
  Field(node, "flags", &out->flags);
  Field(node, "runtime", &out->runtime);
  Field(node, "deadline", &out->deadline);
  Field(node, "period", &out->period);
}

static void Read(const Node& node, IoPriority* out) {
  if (!node.MustBeObject()) return;
  RequiredField(node, "class", &out->cls);
  Field(node, "priority", &out->priority);
}

static void Read(const Node& node, ExecCpuAffinity* out) {
  if (!node.MustBeObject()) return;
  Field(node, "initial", &out->initial);
  Field(node, "final", &out->final);
}

void Read(const Node& node, Process* out) {
  if (!node.ok() || !node.MustBeObject()) return;
  Field(node, "terminal", &out->terminal);
  Field(node, "consoleSize", &out->console_size);
  Field(node, "user", &out->user);
  Field(node, "args", &out->args);
  Field(node, "env", &out->env);
  Field(node, "cwd", &out->cwd);
  Field(node, "capabilities", &out->capabilities);
  Field(node, "rlimits", &out->rlimits);
  Field(node, "noNewPrivileges", &out->no_new_privileges);
  Field(node, "apparmorProfile", &out->apparmor_profile);
  Field(node, "selinuxLabel", &out->selinux_label);
  Field(node, "oomScoreAdj", &out->oom_score_adj);
  Field(node, "scheduler", &out->scheduler);
  Field(node, "ioPriority", &out->io_priority);
  Field(node, "execCPUAffinity", &out->exec_cpu_affinity);
}

absl::StatusOr<Process> ParseProcess(absl::string_view json, absl::string_view name) {
  internal::Document document;
  absl::Status status = document.Parse(json, name);
  if (!status.ok()) return status;
  Process process;
  Read(document.root(), &process);
  if (!document.status().ok()) return document.status();
  return process;
}

}  // namespace gantry::oci
