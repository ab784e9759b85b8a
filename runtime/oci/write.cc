// Structs to JSON: process, resources and the small parts.
#include "runtime/oci/write.h"

#include <algorithm>

namespace gantry::oci {

JsonWriter::JsonWriter(bool pretty) : pretty_(pretty), writer_(buffer_) {
  writer_.SetIndent('\t', pretty ? 1 : 0);
}

std::string JsonWriter::Take() const {
  std::string text(buffer_.GetString(), buffer_.GetSize());
  // Inside strings a newline is escaped: the raw ones are layout.
  if (!pretty_) text.erase(std::remove(text.begin(), text.end(), '\n'), text.end());
  return text;
}

static void Write(JsonWriter& json, const ConsoleSize& size) {
  json.StartObject();
  json.Member("height", size.height);
  json.Member("width", size.width);
  json.EndObject();
}

static void Write(JsonWriter& json, const User& user) {
  json.StartObject();
  json.Member("uid", user.uid);
  json.Member("gid", user.gid);
  json.Some("umask", user.umask);
  json.Some("additionalGids", user.additional_gids);
  json.EndObject();
}

static void Write(JsonWriter& json, const Capabilities& capabilities) {
  json.StartObject();
  json.Some("bounding", capabilities.bounding);
  json.Some("effective", capabilities.effective);
  json.Some("inheritable", capabilities.inheritable);
  json.Some("permitted", capabilities.permitted);
  json.Some("ambient", capabilities.ambient);
  json.EndObject();
}

static void Write(JsonWriter& json, const Rlimit& limit) {
  json.StartObject();
  json.Member("type", limit.type);
  json.Member("hard", limit.hard);
  json.Member("soft", limit.soft);
  json.EndObject();
}

static void Write(JsonWriter& json, const Scheduler& scheduler) {
  json.StartObject();
  json.Member("policy", scheduler.policy);
  json.Some("nice", scheduler.nice);
  json.Some("priority", scheduler.priority);
  json.Some("flags", scheduler.flags);
  json.Some("runtime", scheduler.runtime);
  json.Some("deadline", scheduler.deadline);
  json.Some("period", scheduler.period);
  json.EndObject();
}

static void Write(JsonWriter& json, const IoPriority& priority) {
  json.StartObject();
  json.Member("class", priority.cls);
  json.Member("priority", priority.priority);
  json.EndObject();
}

static void Write(JsonWriter& json, const ExecCpuAffinity& affinity) {
  json.StartObject();
  json.Some("initial", affinity.initial);
  json.Some("final", affinity.final);
  json.EndObject();
}

void Write(JsonWriter& json, const Process& process) {
  json.StartObject();
  json.Some("terminal", process.terminal);
  json.Some("consoleSize", process.console_size);
  json.Member("user", process.user);
  json.Some("args", process.args);
  json.Some("env", process.env);
  json.Member("cwd", process.cwd);
  json.Some("capabilities", process.capabilities);
  json.Some("rlimits", process.rlimits);
  json.Some("noNewPrivileges", process.no_new_privileges);
  json.Some("apparmorProfile", process.apparmor_profile);
  json.Some("oomScoreAdj", process.oom_score_adj);
  json.Some("scheduler", process.scheduler);
  json.Some("selinuxLabel", process.selinux_label);
  json.Some("ioPriority", process.io_priority);
  json.Some("execCPUAffinity", process.exec_cpu_affinity);
  json.EndObject();
}

void Write(JsonWriter& json, const IdMapping& mapping) {
  json.StartObject();
  json.Member("containerID", mapping.container_id);
  json.Member("hostID", mapping.host_id);
  json.Member("size", mapping.size);
  json.EndObject();
}

static void Write(JsonWriter& json, const Mount& mount) {
  json.StartObject();
  json.Member("destination", mount.destination);
  json.Some("type", mount.type);
  json.Some("source", mount.source);
  json.Some("options", mount.options);
  json.Some("uidMappings", mount.uid_mappings);
  json.Some("gidMappings", mount.gid_mappings);
  json.EndObject();
}

static void Write(JsonWriter& json, const Hook& hook) {
  json.StartObject();
  json.Member("path", hook.path);
  json.Some("args", hook.args);
  json.Some("env", hook.env);
  json.Some("timeout", hook.timeout);
  json.EndObject();
}

static void Write(JsonWriter& json, const Hooks& hooks) {
  json.StartObject();
  json.Some("prestart", hooks.prestart);
  json.Some("createRuntime", hooks.create_runtime);
  json.Some("createContainer", hooks.create_container);
  json.Some("startContainer", hooks.start_container);
  json.Some("poststart", hooks.poststart);
  json.Some("poststop", hooks.poststop);
  json.EndObject();
}

static bool Empty(const Hooks& hooks) {
  return hooks.prestart.empty() && hooks.create_runtime.empty() && hooks.create_container.empty() &&
         hooks.start_container.empty() && hooks.poststart.empty() && hooks.poststop.empty();
}

static void Write(JsonWriter& json, const Spec& spec) {
  json.StartObject();
  json.Member("ociVersion", spec.oci_version);
  json.Some("process", spec.process);
  if (spec.root.has_value()) {
    json.Key("root");
    json.StartObject();
    json.Member("path", spec.root->path);
    json.Some("readonly", spec.root->readonly);
    json.EndObject();
  }
  json.Some("hostname", spec.hostname);
  json.Some("domainname", spec.domainname);
  json.Some("mounts", spec.mounts);
  if (!Empty(spec.hooks)) json.Member("hooks", spec.hooks);
  json.Some("annotations", spec.annotations);
  json.Some("linux", spec.linux);
  json.EndObject();
}

static void Write(JsonWriter& json, const State& state) {
  json.StartObject();
  json.Member("ociVersion", state.oci_version);
  json.Member("id", state.id);
  json.Member("status", StatusName(state.status));
  json.Some("pid", state.pid);
  json.Member("bundle", state.bundle);
  json.Some("annotations", state.annotations);
  json.EndObject();
}

std::string ToJson(const Spec& spec, bool pretty) {
  JsonWriter json(pretty);
  Write(json, spec);
  return json.Take();
}

std::string ToJson(const Process& process, bool pretty) {
  JsonWriter json(pretty);
  Write(json, process);
  return json.Take();
}

std::string ToJson(const Resources& resources, bool pretty) {
  JsonWriter json(pretty);
  Write(json, resources);
  return json.Take();
}

std::string ToJson(const State& state, bool pretty) {
  JsonWriter json(pretty);
  Write(json, state);
  return json.Take();
}

std::string ToJson(const ContainerProcessState& state) {
  JsonWriter json(false);
  json.StartObject();
  json.Member("ociVersion", state.state.oci_version);
  json.Member("fds", state.fds);
  json.Member("pid", state.pid);
  json.Some("metadata", state.metadata);
  json.Member("state", state.state);
  json.EndObject();
  return json.Take();
}

}  // namespace gantry::oci
