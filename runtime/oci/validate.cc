// The rules of config.md, but for process (validate_process.cc).
#include "runtime/oci/validate.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/status.h"

namespace gantry::oci {
namespace internal {

absl::Status Violation(absl::string_view field, absl::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", rule));
}

std::string Quoted(absl::string_view text) {
  constexpr size_t kShown = 100;
  return absl::StrCat("\"", absl::Utf8SafeCHexEscape(text.substr(0, kShown)),
                      text.size() > kShown ? "...\"" : "\"");
}

bool OneOf(absl::string_view text, std::initializer_list<absl::string_view> known) {
  return std::find(known.begin(), known.end(), text) != known.end();
}

absl::Status CheckCpuList(absl::string_view field, absl::string_view list) {
  // The kernel's own limit on CPUs and nodes is far below; ours keeps a list from being an attack on memory.
  constexpr uint32_t kMaxIndex = 65535;
  constexpr size_t kMaxLength = 65536;
  const auto number = [](absl::string_view text, uint32_t* value) {
    return !text.empty() && std::all_of(text.begin(), text.end(), absl::ascii_isdigit) &&
           absl::SimpleAtoi(text, value) && *value <= kMaxIndex;
  };
  bool good = list.size() <= kMaxLength;
  for (absl::string_view part : absl::StrSplit(list, ',')) {
    if (!good) break;
    const std::pair<absl::string_view, absl::string_view> range =
        absl::StrSplit(part, absl::MaxSplits('-', 1));
    uint32_t first = 0, last = 0;
    good = number(range.first, &first);
    if (good && part.find('-') != absl::string_view::npos)
      good = number(range.second, &last) && first <= last;
  }
  if (good) return absl::OkStatus();
  return Violation(field, absl::StrCat("must be a list of numbers and ranges up to ", kMaxIndex,
                                       ", like \"0-3,7\", found ", Quoted(list)));
}

bool IsInterfaceName(absl::string_view name) {
  if (name.empty() || name.size() > 15 || name == "." || name == "..") return false;
  return std::none_of(name.begin(), name.end(),
                      [](char c) { return c == '/' || c == ':' || absl::ascii_isspace(c); });
}

absl::Status CheckMappings(absl::string_view field, const std::vector<IdMapping>& mappings) {
  constexpr size_t kMaxMappings = 340;  // user_namespaces(7)
  if (mappings.size() > kMaxMappings) {
    return Violation(field, absl::StrCat("must not hold more than ", kMaxMappings, " mappings"));
  }
  for (size_t i = 0; i < mappings.size(); ++i) {
    const IdMapping& a = mappings[i];
    const std::string name = absl::StrCat(field, "[", i, "]");
    if (a.size == 0) return Violation(absl::StrCat(name, ".size"), "must not be 0");
    // 2^32-1 is the id that means "no change" to setuid(2), so the last usable one is 2^32-2.
    constexpr uint64_t kEnd = 0xffffffff;
    if (uint64_t{a.container_id} + a.size > kEnd || uint64_t{a.host_id} + a.size > kEnd) {
      return Violation(name, "containerID + size and hostID + size must not exceed 4294967295");
    }
    for (size_t j = 0; j < i; ++j) {
      const IdMapping& b = mappings[j];
      const auto overlap = [](uint64_t x, uint64_t n, uint64_t y, uint64_t m) {
        return x < y + m && y < x + n;
      };
      if (overlap(a.container_id, a.size, b.container_id, b.size) ||
          overlap(a.host_id, a.size, b.host_id, b.size)) {
        return Violation(name, absl::StrCat("must not overlap ", field, "[", j, "]"));
      }
    }
  }
  return absl::OkStatus();
}

namespace {

// MAJOR.MINOR.PATCH with optional -PRERELEASE and +BUILD, as semver.org says.
bool IsSemVer(absl::string_view text, uint32_t* major) {
  const auto identifiers = [](absl::string_view list) {
    for (absl::string_view part : absl::StrSplit(list, '.')) {
      if (part.empty()) return false;
      for (const char c : part) {
        if (!absl::ascii_isalnum(c) && c != '-') return false;
      }
    }
    return true;
  };
  if (const size_t plus = text.find('+'); plus != absl::string_view::npos) {
    if (!identifiers(text.substr(plus + 1))) return false;
    text = text.substr(0, plus);
  }
  if (const size_t dash = text.find('-'); dash != absl::string_view::npos) {
    if (!identifiers(text.substr(dash + 1))) return false;
    text = text.substr(0, dash);
  }
  const std::vector<absl::string_view> parts = absl::StrSplit(text, '.');
  if (parts.size() != 3) return false;
  for (absl::string_view part : parts) {
    uint32_t number;
    if (part.empty() || !std::all_of(part.begin(), part.end(), absl::ascii_isdigit)) return false;
    if (part.size() > 1 && part[0] == '0') return false;
    if (!absl::SimpleAtoi(part, &number)) return false;
  }
  return absl::SimpleAtoi(parts[0], major);
}

absl::Status CheckMounts(const std::vector<Mount>& mounts) {
  for (size_t i = 0; i < mounts.size(); ++i) {
    const Mount& mount = mounts[i];
    const std::string name = absl::StrCat("mounts[", i, "]");
    if (mount.destination.empty()) return Violation(name + ".destination", "must not be empty");
    const bool bind =
        mount.type == "bind" || std::any_of(mount.options.begin(), mount.options.end(),
                                            [](auto& o) { return o == "bind" || o == "rbind"; });
    const std::string of = absl::StrCat(name, " (", Quoted(mount.destination), ")");
    if (bind && mount.source.empty()) return Violation(of, "a bind mount must have a source");
    if (!bind && mount.type.empty()) return Violation(of, "must have a type, or the option \"bind\"");
    if (mount.uid_mappings.empty() != mount.gid_mappings.empty()) {
      return Violation(of, "uidMappings and gidMappings must be given together");
    }
    GANTRY_RETURN_IF_ERROR(CheckMappings(name + ".uidMappings", mount.uid_mappings));
    GANTRY_RETURN_IF_ERROR(CheckMappings(name + ".gidMappings", mount.gid_mappings));
  }
  return absl::OkStatus();
}

absl::Status CheckHooks(absl::string_view kind, const std::vector<Hook>& hooks) {
  for (size_t i = 0; i < hooks.size(); ++i) {
    const std::string name = absl::StrCat("hooks.", kind, "[", i, "]");
    if (hooks[i].path.empty() || hooks[i].path[0] != '/') {
      return Violation(name + ".path",
                       absl::StrCat("must be an absolute path, found ", Quoted(hooks[i].path)));
    }
    if (hooks[i].timeout.has_value() && *hooks[i].timeout < 1) {
      return Violation(name + ".timeout",
                       absl::StrCat("must be at least 1 second, found ", *hooks[i].timeout));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckHostNames(const Spec& spec) {
  constexpr size_t kMaxLength = 64;  // __NEW_UTS_LEN
  const bool uts = spec.linux.has_value() && spec.linux->FindNamespace(NamespaceType::kUts) != nullptr;
  for (const auto& [field, value] :
       {std::pair<absl::string_view, const std::string&>("hostname", spec.hostname),
        std::pair<absl::string_view, const std::string&>("domainname", spec.domainname)}) {
    if (value.empty()) continue;
    if (!uts)
      return Violation(field, "needs a uts namespace in linux.namespaces: it would change the host's name");
    if (value.size() > kMaxLength) {
      return Violation(field,
                       absl::StrCat("must not be longer than ", kMaxLength, " bytes, found ", value.size()));
    }
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace internal

using internal::Violation;

absl::Status Validate(const Spec& spec) {
  uint32_t major = 0;
  if (!internal::IsSemVer(spec.oci_version, &major)) {
    return Violation("ociVersion", absl::StrCat("must be a semantic version such as \"1.2.0\", found ",
                                                internal::Quoted(spec.oci_version)));
  }
  if (major != 1) {
    return Violation("ociVersion", absl::StrCat("must be a version 1.x, up to ", kSpecVersion,
                                                " is known, found ", internal::Quoted(spec.oci_version)));
  }
  if (!spec.process.has_value()) return Violation("process", "is required");
  GANTRY_RETURN_IF_ERROR(internal::CheckCounts(spec));
  GANTRY_RETURN_IF_ERROR(sys::Annotate(ValidateProcess(*spec.process), "process"));
  if (!spec.root.has_value()) return Violation("root", "is required");
  if (spec.root->path.empty()) return Violation("root.path", "must not be empty");
  GANTRY_RETURN_IF_ERROR(internal::CheckHostNames(spec));
  GANTRY_RETURN_IF_ERROR(internal::CheckMounts(spec.mounts));
  GANTRY_RETURN_IF_ERROR(internal::CheckHooks("prestart", spec.hooks.prestart));
  GANTRY_RETURN_IF_ERROR(internal::CheckHooks("createRuntime", spec.hooks.create_runtime));
  GANTRY_RETURN_IF_ERROR(internal::CheckHooks("createContainer", spec.hooks.create_container));
  GANTRY_RETURN_IF_ERROR(internal::CheckHooks("startContainer", spec.hooks.start_container));
  GANTRY_RETURN_IF_ERROR(internal::CheckHooks("poststart", spec.hooks.poststart));
  GANTRY_RETURN_IF_ERROR(internal::CheckHooks("poststop", spec.hooks.poststop));
  if (spec.annotations.count("") != 0) return Violation("annotations", "a key must not be empty");
  if (!spec.linux.has_value() || spec.linux->FindNamespace(NamespaceType::kMount) == nullptr) {
    return Violation("linux.namespaces",
                     "must list a mount namespace: without one the container would mount on the host");
  }
  return internal::CheckLinux(*spec.linux);
}

}  // namespace gantry::oci
