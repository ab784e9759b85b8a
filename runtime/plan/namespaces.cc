#include <sched.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/plan/builder.h"
#include "runtime/sys/status.h"

namespace gantry::plan {
namespace {

using oci::NamespaceType;

constexpr uint64_t kCloneNewTime =
    0x80;  // CLONE_NEWTIME; in the signal's bits of clone(2), free in clone3(2)

uint64_t CloneFlag(NamespaceType type) {
  switch (type) {
    case NamespaceType::kPid:
      return CLONE_NEWPID;
    case NamespaceType::kNetwork:
      return CLONE_NEWNET;
    case NamespaceType::kMount:
      return CLONE_NEWNS;
    case NamespaceType::kIpc:
      return CLONE_NEWIPC;
    case NamespaceType::kUts:
      return CLONE_NEWUTS;
    case NamespaceType::kUser:
      return CLONE_NEWUSER;
    case NamespaceType::kCgroup:
      return CLONE_NEWCGROUP;
    case NamespaceType::kTime:
      return kCloneNewTime;
  }
  return 0;
}

bool HasSysctlOf(const oci::Linux& section, NamespaceType type) {
  return std::any_of(section.sysctl.begin(), section.sysctl.end(), [type](const auto& entry) {
    const bool net = absl::StartsWith(entry.first, "net.") || absl::StartsWith(entry.first, "net/");
    return type == NamespaceType::kNetwork ? net : !net;
  });
}

// Whether a process of its own must enter namespaces before the container's process can be born: the pid and
// time namespaces are entered by children only; a new or joined user namespace takes the right to enter the
// others away, and must own those that are new.
bool NeedsHelper(const oci::Linux& section) {
  bool any_path = false, user = false;
  for (const oci::Namespace& entry : section.namespaces) {
    const bool path = !entry.path.empty();
    if (entry.type == NamespaceType::kTime) return true;
    if (path && (entry.type == NamespaceType::kPid || entry.type == NamespaceType::kUser)) return true;
    any_path = any_path || path;
    user = user || entry.type == NamespaceType::kUser;
  }
  return any_path && user;
}

absl::Status PlanOne(const oci::Linux& section, const oci::Namespace& entry, Builder* builder) {
  const bool is_new = entry.path.empty();
  if (entry.type == NamespaceType::kUser) builder->user_namespace = true;
  if (is_new) {
    if (entry.type == NamespaceType::kCgroup) {
      builder->new_cgroup_namespace = true;
    } else {
      builder->clone.flags.value |= CloneFlag(entry.type);
    }
    if (entry.type == NamespaceType::kNetwork) builder->new_network = true;
    if (entry.type == NamespaceType::kPid) builder->new_pid = true;
    return absl::OkStatus();
  }
  const Slot slot = builder->NewSlot();
  builder->Before(OpenNamespace{slot, entry.type, entry.path, HasSysctlOf(section, entry.type)});
  builder->Child(JoinNamespace{slot, entry.type, builder->clone.helper});
  if (entry.type == NamespaceType::kNetwork) builder->joined_network = slot;
  if (entry.type == NamespaceType::kMount) {
    builder->joined_mounts = slot;
    builder->only_chroot = true;
  }
  return absl::OkStatus();
}

bool IsOwnNumberAlone(const std::vector<oci::IdMapping>& mappings, uint32_t own) {
  return mappings.size() == 1 && mappings[0].size == 1 && mappings[0].host_id == own;
}

// user_namespaces(7), "Defining user and group ID mappings": an ordinary user may map his own number, and that of
// his group only if setgroups(2) is denied. For more there are two programs with more rights (subuid(5)).
WriteIdMaps PlanIdMaps(const oci::Linux& section, const HostFacts& facts) {
  WriteIdMaps maps;
  maps.uid_mappings = section.uid_mappings;
  maps.gid_mappings = section.gid_mappings;
  if (!facts.unprivileged()) return maps;
  if (!IsOwnNumberAlone(maps.uid_mappings, facts.uid)) maps.uid_program = "newuidmap";
  if (IsOwnNumberAlone(maps.gid_mappings, facts.gid)) {
    maps.deny_setgroups = true;
  } else {
    maps.gid_program = "newgidmap";
  }
  return maps;
}

absl::Status PlanUser(const oci::Linux& section, const oci::Namespace& user, Builder* builder) {
  if (user.path.empty()) {
    if (section.uid_mappings.empty() || section.gid_mappings.empty()) {
      return absl::InvalidArgumentError(
          "linux.uidMappings and linux.gidMappings: a new user namespace needs both");
    }
    builder->Parent(PlanIdMaps(section, builder->facts));
    builder->clone.dumpable = builder->facts.unprivileged();
    builder->Child(AwaitIdMaps{});
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status PlanNamespaces(const oci::Spec& spec, Builder* builder) {
  const oci::Linux& section = *spec.linux;
  if (section.FindNamespace(NamespaceType::kMount) == nullptr) {
    return absl::InvalidArgumentError(
        "linux.namespaces: there must be an entry of type \"mount\", so that the host's mounts stay "
        "untouched");
  }
  builder->clone.helper = NeedsHelper(section);
  const auto plan_user = [&]() -> absl::Status {
    const oci::Namespace* user = section.FindNamespace(NamespaceType::kUser);
    if (user == nullptr) return absl::OkStatus();
    GANTRY_RETURN_IF_ERROR(PlanOne(section, *user, builder));
    return PlanUser(section, *user, builder);
  };
  // The user namespace last: inside it the right to enter the others is gone. But an ordinary user has a right to
  // them only inside it.
  const bool user_first = builder->facts.unprivileged();
  if (user_first) GANTRY_RETURN_IF_ERROR(plan_user());
  for (const oci::Namespace& entry : section.namespaces) {
    if (entry.type == NamespaceType::kUser) continue;
    GANTRY_RETURN_IF_ERROR(PlanOne(section, entry, builder));
  }
  if (!user_first) GANTRY_RETURN_IF_ERROR(plan_user());
  for (const auto& [clock, offset] : section.time_offsets) {
    builder->clone.time_offsets.emplace_back(clock, offset);
  }
  if (!section.time_offsets.empty() && section.FindNamespace(NamespaceType::kTime) == nullptr) {
    return absl::InvalidArgumentError("linux.timeOffsets: needs a new namespace of type \"time\"");
  }
  builder->Child(JoinCgroup{});
  if (builder->new_cgroup_namespace) builder->Child(UnshareCgroupNamespace{});
  builder->Child(NewSession{});
  if (builder->new_network) builder->Child(LoopbackUp{});
  return PlanNetDevices(section, builder);
}

absl::Status PlanHostAndSysctl(const oci::Spec& spec, Builder* builder) {
  if (!spec.hostname.empty()) builder->Child(SetHostname{spec.hostname});
  if (!spec.domainname.empty()) builder->Child(SetDomainname{spec.domainname});
  for (const auto& [key, value] : spec.linux->sysctl) {
    // sysctl(8): the first separator decides which of the two is the separator.
    std::string path = key;
    const size_t first = key.find_first_of("./");
    if (first != std::string::npos && key[first] == '.') {
      for (char& c : path) c = c == '.' ? '/' : (c == '/' ? '.' : c);
    }
    for (absl::string_view part : absl::StrSplit(path, '/')) {
      if (part.empty() || part == "." || part == "..") {
        return absl::InvalidArgumentError(absl::StrCat("linux.sysctl: \"", key, "\" names no sysctl"));
      }
    }
    builder->Child(WriteSysctl{key, absl::StrCat("sys/", path), value});
  }
  return absl::OkStatus();
}

}  // namespace gantry::plan
