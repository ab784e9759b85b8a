// config.md: the document itself, root, mounts, hooks, annotations.
#include "runtime/oci/parse.h"

namespace gantry::oci {

using internal::Field;
using internal::Node;
using internal::RequiredField;

static void Read(const Node& node, Root* out) {
  if (!node.MustBeObject()) return;
  RequiredField(node, "path", &out->path);
  Field(node, "readonly", &out->readonly);
}

void Read(const Node& node, IdMapping* out) {
  if (!node.ok() || !node.MustBeObject()) return;
  RequiredField(node, "containerID", &out->container_id);
  RequiredField(node, "hostID", &out->host_id);
  RequiredField(node, "size", &out->size);
}

static void Read(const Node& node, Mount* out) {
  if (!node.MustBeObject()) return;
  RequiredField(node, "destination", &out->destination);
  Field(node, "type", &out->type);
  Field(node, "source", &out->source);
  Field(node, "options", &out->options);
  Field(node, "uidMappings", &out->uid_mappings);
  Field(node, "gidMappings", &out->gid_mappings);
}

static void Read(const Node& node, Hook* out) {
  if (!node.MustBeObject()) return;
  RequiredField(node, "path", &out->path);
  Field(node, "args", &out->args);
  Field(node, "env", &out->env);
  Field(node, "timeout", &out->timeout);
}

static void Read(const Node& node, Hooks* out) {
  if (!node.MustBeObject()) return;
  Field(node, "prestart", &out->prestart);
  Field(node, "createRuntime", &out->create_runtime);
  Field(node, "createContainer", &out->create_container);
  Field(node, "startContainer", &out->start_container);
  Field(node, "poststart", &out->poststart);
  Field(node, "poststop", &out->poststop);
}

absl::StatusOr<Spec> ParseSpec(absl::string_view json, absl::string_view name) {
  internal::Document document;
  absl::Status status = document.Parse(json, name);
  if (!status.ok()) return status;
  Spec spec;
  const Node root = document.root();
  if (root.MustBeObject()) {
    RequiredField(root, "ociVersion", &spec.oci_version);
    Field(root, "process", &spec.process);
    Field(root, "root", &spec.root);
    Field(root, "hostname", &spec.hostname);
    Field(root, "domainname", &spec.domainname);
    Field(root, "mounts", &spec.mounts);
    Field(root, "hooks", &spec.hooks);
    Field(root, "annotations", &spec.annotations);
    Field(root, "linux", &spec.linux);
  }
  if (!document.status().ok()) return document.status();
  return spec;
}

}  // namespace gantry::oci
