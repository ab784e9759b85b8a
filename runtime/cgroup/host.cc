#include "runtime/cgroup/host.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "runtime/sys/file.h"
#include "runtime/sys/privilege.h"
#include "runtime/sys/status.h"

namespace gantry::cgroup {
namespace {

constexpr size_t kMaxProcText = 16 << 20;
constexpr char kUsualRoot[] = "/sys/fs/cgroup";

// "/a\040b" of mountinfo is "/a b".
std::string Unescape(absl::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && text[i + 1] >= '0' && text[i + 1] <= '3') {
      out.push_back(
          static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0')));
      i += 3;
    } else {
      out.push_back(text[i]);
    }
  }
  return out;
}

// The hierarchies of /proc/self/cgroup ("4:cpu,cpuacct:/path", "0::/path"), without mount points.
std::vector<Hierarchy> ParseProcCgroup(absl::string_view text) {
  std::vector<Hierarchy> found;
  std::vector<Hierarchy> unified;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() != 3) continue;
    Hierarchy hierarchy;
    hierarchy.self = std::string(fields[2]);
    if (fields[1].empty()) {
      hierarchy.version = 2;
      unified.push_back(std::move(hierarchy));
    } else {
      hierarchy.controllers = absl::StrSplit(fields[1], ',');
      found.push_back(std::move(hierarchy));
    }
  }
  // In the order of their numbers, the first mounted first; the file lists the youngest first.
  std::reverse(found.begin(), found.end());
  found.insert(found.end(), unified.begin(), unified.end());
  return found;
}

bool IsMounted(const std::string& path, long magic) {
  struct statfs fs;
  return statfs(path.c_str(), &fs) == 0 && fs.f_type == magic;
}

// Looks where distributions mount them. False if any is not there, or does not show our own cgroup.
bool FindUsualMounts(std::vector<Hierarchy>* hierarchies) {
  for (Hierarchy& hierarchy : *hierarchies) {
    if (hierarchy.version == 2) {
      hierarchy.mount_point = kUsualRoot;
      if (!IsMounted(hierarchy.mount_point, CGROUP2_SUPER_MAGIC)) {
        hierarchy.mount_point = absl::StrCat(kUsualRoot, "/unified");
        if (!IsMounted(hierarchy.mount_point, CGROUP2_SUPER_MAGIC)) return false;
      }
    } else {
      std::string name = absl::StrJoin(hierarchy.controllers, ",");
      if (absl::StartsWith(name, "name=")) name.erase(0, 5);
      hierarchy.mount_point = absl::StrCat(kUsualRoot, "/", name);
      if (!IsMounted(hierarchy.mount_point, CGROUP_SUPER_MAGIC)) return false;
    }
    // In a container without a cgroup namespace of its own the mount shows a subtree, of which self is outside.
    if (hierarchy.self != "/" && access((hierarchy.mount_point + hierarchy.self).c_str(), F_OK) != 0)
      return false;
  }
  return true;
}

std::vector<std::string> Words(absl::string_view text) {
  return absl::StrSplit(text, absl::ByAnyChar(" \n"), absl::SkipEmpty());
}

}  // namespace

bool Hierarchy::Has(absl::string_view controller) const {
  return std::find(controllers.begin(), controllers.end(), controller) != controllers.end();
}

const Hierarchy* Host::Find(absl::string_view controller) const {
  for (const Hierarchy& hierarchy : hierarchies) {
    if (hierarchy.Has(controller)) return &hierarchy;
  }
  return nullptr;
}

const Hierarchy* Host::Unified() const {
  return !hierarchies.empty() && hierarchies.back().version == 2 ? &hierarchies.back() : nullptr;
}

bool Host::unified_only() const { return hierarchies.size() == 1 && hierarchies[0].version == 2; }

std::string Host::Base(const Hierarchy& hierarchy) const {
  std::string base = hierarchy.self;
  // On v2 a cgroup with processes of its own (ours) cannot hand controllers down to children: go beside it.
  if (unified_only() && base != "/") base.erase(base.rfind('/'));
  return base == "/" ? "" : base;
}

Host ParseHost(absl::string_view mountinfo, absl::string_view proc_cgroup,
               absl::string_view unified_controllers) {
  Host host;
  host.hierarchies = ParseProcCgroup(proc_cgroup);
  for (absl::string_view line : absl::StrSplit(mountinfo, '\n', absl::SkipEmpty())) {
    const size_t dash = line.find(" - ");
    if (dash == absl::string_view::npos || !absl::StartsWith(line.substr(dash + 3), "cgroup")) continue;
    const std::vector<absl::string_view> left = absl::StrSplit(line.substr(0, dash), ' ');
    const std::vector<absl::string_view> right = absl::StrSplit(line.substr(dash + 3), ' ');
    if (left.size() < 5 || right.size() < 3) continue;
    const std::vector<std::string> options = absl::StrSplit(right[2], ',');
    for (Hierarchy& hierarchy : host.hierarchies) {
      const bool match = right[0] == "cgroup2"
                             ? hierarchy.version == 2
                             : hierarchy.version == 1 && std::find(options.begin(), options.end(),
                                                                   hierarchy.controllers[0]) != options.end();
      if (!match || !hierarchy.mount_point.empty()) continue;
      hierarchy.mount_point = Unescape(left[4]);
      const std::string root = Unescape(left[3]);
      if (root != "/") {
        const bool inside = absl::StartsWith(hierarchy.self, root + "/");
        hierarchy.self = inside ? hierarchy.self.substr(root.size()) : "/";
      }
    }
  }
  host.hierarchies.erase(std::remove_if(host.hierarchies.begin(), host.hierarchies.end(),
                                        [](const Hierarchy& h) { return h.mount_point.empty(); }),
                         host.hierarchies.end());
  if (host.Unified() != nullptr) host.hierarchies.back().controllers = Words(unified_controllers);
  return host;
}

absl::StatusOr<Host> ProbeHost() {
  GANTRY_ASSIGN_OR_RETURN(const std::string own,
                          sys::ReadFileAt(AT_FDCWD, "/proc/self/cgroup", kMaxProcText));
  Host host;
  host.hierarchies = ParseProcCgroup(own);
  if (!FindUsualMounts(&host.hierarchies)) {
    GANTRY_ASSIGN_OR_RETURN(const std::string mounts,
                            sys::ReadFileAt(AT_FDCWD, "/proc/self/mountinfo", kMaxProcText));
    host = ParseHost(mounts, own, "");
  }
  if (host.Unified() != nullptr) {
    auto controllers =
        sys::ReadFileAt(AT_FDCWD, host.Unified()->mount_point + "/cgroup.controllers", kMaxProcText);
    if (controllers.ok()) host.hierarchies.back().controllers = Words(*controllers);
  }
  host.privileged = sys::IsRoot();
  if (!host.privileged) {
    for (Hierarchy& hierarchy : host.hierarchies) {
      const std::string base = hierarchy.mount_point + host.Base(hierarchy);
      hierarchy.writable = faccessat(AT_FDCWD, base.c_str(), W_OK, AT_EACCESS) == 0;
    }
  }
  return host;
}

}  // namespace gantry::cgroup
