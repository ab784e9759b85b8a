#include "cmd/gantry/run/mounts.h"

#include <limits.h>
#include <stdlib.h>

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cmd/gantry/ui/text.h"
#include "runtime/sys/status.h"

namespace gantry::cli {
namespace {

absl::Status CheckTarget(absl::string_view typed, const std::string& target) {
  if (!target.empty() && target[0] == '/' && target != "/") return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the mount \"", typed, "\" has the target \"", target,
                                                 "\": it must be an absolute path below /"));
}

absl::StatusOr<oci::Mount> Bind(const std::string& typed, const std::string& source,
                                const std::string& target, bool read_only) {
  GANTRY_RETURN_IF_ERROR(CheckTarget(typed, target));
  char resolved[PATH_MAX];
  if (source.empty() || ::realpath(source.c_str(), resolved) == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("the mount \"", typed, "\" has the source \"", source,
                                                   "\", which is not there on this machine"));
  }
  return oci::Mount{.destination = target,
                    .type = "bind",
                    .source = resolved,
                    .options = {"rbind", "rprivate", read_only ? "ro" : "rw"},
                    .uid_mappings = {},
                    .gid_mappings = {}};
}

}  // namespace

absl::StatusOr<oci::Mount> ParseVolume(const std::string& text) {
  const std::vector<std::string> parts = absl::StrSplit(text, ':');
  const bool known_mode = parts.size() < 3 || parts[2] == "ro" || parts[2] == "rw";
  if (parts.size() < 2 || parts.size() > 3 || !known_mode) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", text, "\" is no volume: a volume is SOURCE:TARGET, SOURCE:TARGET:ro or SOURCE:TARGET:rw"));
  }
  return Bind(text, parts[0], parts[1], parts.size() == 3 && parts[2] == "ro");
}

absl::StatusOr<oci::Mount> ParseMount(const std::string& text) {
  std::string type = "bind";
  std::string source;
  std::string target;
  bool read_only = false;
  std::vector<std::string> tmpfs = {"nosuid", "nodev", "noexec"};
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const std::pair<std::string, std::string> field = absl::StrSplit(part, absl::MaxSplits('=', 1));
    const auto& [key, value] = field;
    if (key == "type") {
      type = value;
    } else if (key == "source" || key == "src") {
      source = value;
    } else if (key == "target" || key == "dst" || key == "destination") {
      target = value;
    } else if (key == "readonly" || key == "ro") {
      read_only = value.empty() || value == "true" || value == "1";
    } else if (key == "tmpfs-size") {
      GANTRY_ASSIGN_OR_RETURN(const int64_t bytes, ParseSize(value));
      tmpfs.push_back(absl::StrCat("size=", bytes));
    } else if (key == "tmpfs-mode") {
      tmpfs.push_back(absl::StrCat("mode=", value));
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("the mount \"", text, "\" has the unknown key \"", key,
                       "\"; the keys are type, source, target, readonly, tmpfs-size and tmpfs-mode"));
    }
  }
  if (type == "bind") return Bind(text, source, target, read_only);
  if (type != "tmpfs") {
    return absl::InvalidArgumentError(
        absl::StrCat("the mount \"", text, "\" has the type \"", type, "\"; the types are bind and tmpfs"));
  }
  GANTRY_RETURN_IF_ERROR(CheckTarget(text, target));
  if (read_only) tmpfs.emplace_back("ro");
  return oci::Mount{.destination = target,
                    .type = "tmpfs",
                    .source = "tmpfs",
                    .options = tmpfs,
                    .uid_mappings = {},
                    .gid_mappings = {}};
}

absl::StatusOr<oci::Mount> ParseTmpfs(const std::string& text) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits(':', 1));
  GANTRY_RETURN_IF_ERROR(CheckTarget(text, parts.first));
  oci::Mount mount;
  mount.destination = parts.first;
  mount.type = "tmpfs";
  mount.source = "tmpfs";
  mount.options = {"nosuid", "nodev", "noexec"};
  for (const absl::string_view option : absl::StrSplit(parts.second, ',', absl::SkipEmpty())) {
    mount.options.emplace_back(option);
  }
  return mount;
}

}  // namespace gantry::cli
