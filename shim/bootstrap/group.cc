#include "shim/bootstrap/group.h"

#include <fcntl.h>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "runtime/oci/spec.h"
#include "runtime/sys/file.h"

namespace gantry::shim {
namespace {

// The first that is there decides.
constexpr const char* kGroupAnnotations[] = {"io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"};

bool MentionsGroup(absl::string_view text) {
  for (const char* name : kGroupAnnotations) {
    if (absl::StrContains(text, name)) return true;
  }
  return false;
}

}  // namespace

std::string GroupOfSpec(absl::string_view config_json) {
  if (!MentionsGroup(config_json)) return "";  // spares nearly all the parsing
  const absl::StatusOr<oci::Spec> spec = oci::ParseSpec(config_json, "config.json");
  if (!spec.ok()) return "";
  for (const char* name : kGroupAnnotations) {
    const auto it = spec->annotations.find(name);
    if (it != spec->annotations.end()) return it->second;
  }
  return "";
}

std::string GroupOfBundle(const std::string& bundle) {
  const absl::StatusOr<std::string> text =
      sys::ReadFileAt(AT_FDCWD, bundle + "/config.json", oci::kMaxSpecBytes, O_NONBLOCK);
  return text.ok() ? GroupOfSpec(*text) : "";
}

}  // namespace gantry::shim
