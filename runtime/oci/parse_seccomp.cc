// config-linux.md, "Seccomp".
#include "absl/strings/str_cat.h"
#include "runtime/oci/parse.h"

namespace gantry::oci {

using internal::Field;
using internal::Node;
using internal::RequiredField;

static void Read(const Node& node, SeccompAction* out) {
  std::string text;
  internal::Read(node, &text);
  if (!node.ok()) return;
  if (text == "SCMP_ACT_KILL") {
    *out = SeccompAction::kKillThread;
    return;
  }
  std::string known = "SCMP_ACT_KILL";
  for (int i = 0; i <= static_cast<int>(SeccompAction::kNotify); ++i) {
    const auto action = static_cast<SeccompAction>(i);
    if (SeccompActionName(action) == text) {
      *out = action;
      return;
    }
    absl::StrAppend(&known, ", ", SeccompActionName(action));
  }
  node.Fail(absl::StrCat("must be one of ", known));
}

static void Read(const Node& node, SeccompOp* out) {
  std::string text;
  internal::Read(node, &text);
  if (!node.ok()) return;
  std::string known;
  for (int i = 0; i <= static_cast<int>(SeccompOp::kMaskedEq); ++i) {
    const auto op = static_cast<SeccompOp>(i);
    if (SeccompOpName(op) == text) {
      *out = op;
      return;
    }
    absl::StrAppend(&known, i == 0 ? "" : ", ", SeccompOpName(op));
  }
  node.Fail(absl::StrCat("must be one of ", known));
}

static void Read(const Node& node, SeccompArg* out) {
  if (!node.MustBeObject()) return;
  RequiredField(node, "index", &out->index);
  if (node.ok() && out->index > 5) return Node(node, "index").Fail("must be from 0 to 5");
  RequiredField(node, "value", &out->value);
  Field(node, "valueTwo", &out->value_two);
  RequiredField(node, "op", &out->op);
}

static void Read(const Node& node, SeccompSyscall* out) {
  if (!node.MustBeObject()) return;
  RequiredField(node, "names", &out->names);
  RequiredField(node, "action", &out->action);
  Field(node, "errnoRet", &out->errno_ret);
  Field(node, "args", &out->args);
}

void Read(const Node& node, Seccomp* out) {
  if (!node.ok() || !node.MustBeObject()) return;
  RequiredField(node, "defaultAction", &out->default_action);
  Field(node, "defaultErrnoRet", &out->default_errno_ret);
  Field(node, "architectures", &out->architectures);
  Field(node, "flags", &out->flags);
  Field(node, "listenerPath", &out->listener_path);
  Field(node, "listenerMetadata", &out->listener_metadata);
  Field(node, "syscalls", &out->syscalls);
}

}  // namespace gantry::oci
