#include "daemon/tasks/group.h"

#include <rapidjson/document.h>

#include "absl/strings/match.h"

namespace gantry::tasks {
namespace {

// The first that is there decides.
constexpr const char* kAnnotations[] = {"io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"};

bool MentionsGroup(absl::string_view spec) {
  for (const char* name : kAnnotations) {
    if (absl::StrContains(spec, name)) return true;
  }
  return false;
}

}  // namespace

std::string GroupOf(absl::string_view spec) {
  if (!MentionsGroup(spec)) return "";  // spares nearly all the parsing
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag>(spec.data(), spec.size());
  if (document.HasParseError() || !document.IsObject()) return "";
  const auto annotations = document.FindMember("annotations");
  if (annotations == document.MemberEnd() || !annotations->value.IsObject()) return "";
  for (const char* name : kAnnotations) {
    const auto group = annotations->value.FindMember(name);
    if (group != annotations->value.MemberEnd() && group->value.IsString()) return group->value.GetString();
  }
  return "";
}

}  // namespace gantry::tasks
