#include <sys/mount.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "runtime/plan/builder.h"
#include "runtime/plan/mount_options.h"
#include "runtime/sys/status.h"

namespace gantry::plan {
namespace {

// File systems whose superblock belongs to a namespace and is shared by all mounts of it, and those where the
// mount's own flag is all there is to "ro". Others (a disk's) are told to be read-only themselves too.
bool ReadonlyByMountAlone(absl::string_view type) {
  for (const absl::string_view known :
       {"proc", "sysfs", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "overlay", "ramfs"}) {
    if (type == known) return true;
  }
  return false;
}

bool HasParam(const std::vector<Param>& params, absl::string_view key) {
  return std::any_of(params.begin(), params.end(), [key](const Param& param) { return param.key == key; });
}

std::string Destination(const oci::Mount& mount) {
  // config.md: a relative destination is relative to "/".
  return absl::StartsWith(mount.destination, "/") ? mount.destination : absl::StrCat("/", mount.destination);
}

// devpts takes no group that the container does not know: `spec` writes that of the terminals, 5, which a mapping
// of one number lacks.
void DropUnmappedGroup(const oci::Linux& section, MountFilesystem* mount, Builder* builder) {
  const oci::Namespace* user = section.FindNamespace(oci::NamespaceType::kUser);
  if (mount->type != "devpts" || user == nullptr || !user->path.empty()) return;
  auto& params = mount->params;
  for (size_t i = params.size(); i-- > 0;) {
    uint32_t gid = 0;
    if (params[i].key != "gid" || !absl::SimpleAtoi(params[i].value.value_or(""), &gid)) continue;
    const auto maps = [gid](const oci::IdMapping& map) {
      return gid >= map.container_id && gid - map.container_id < map.size;
    };
    if (std::any_of(section.gid_mappings.begin(), section.gid_mappings.end(), maps)) continue;
    builder->warnings.push_back(absl::StrCat("mounts (", mount->destination, "): gid=", gid,
                                             " is left out: linux.gidMappings does not map it"));
    params.erase(params.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

bool IsDev(const std::string& destination) { return destination == "/dev" || destination == "/dev/"; }

absl::Status PlanFilesystem(const oci::Spec& spec, const oci::Mount& mount, MountOptions options,
                            Builder* builder) {
  MountFilesystem operation;
  operation.type = mount.type;
  operation.source = mount.source.empty() ? mount.type : mount.source;
  operation.destination = Destination(mount);
  operation.params = std::move(options.params);
  operation.attr = options.attr;
  if (options.copy_up && mount.type != "tmpfs") {
    return absl::InvalidArgumentError("the option \"tmpcopyup\" is for a tmpfs only");
  }
  operation.copy_up = options.copy_up;
  DropUnmappedGroup(*spec.linux, &operation, builder);
  operation.mode_of_destination = mount.type == "tmpfs" && !HasParam(operation.params, "mode");
  const bool readonly = (operation.attr.set & MOUNT_ATTR_RDONLY) != 0;
  if (readonly && !ReadonlyByMountAlone(mount.type)) operation.params.push_back({"ro", std::nullopt});
  if (builder->facts.selinux && !spec.linux->mount_label.empty() && mount.type != "proc" &&
      mount.type != "sysfs") {
    operation.params.push_back({"context", spec.linux->mount_label});
  }
  operation.keep = mount.type == "proc" || mount.type == "sysfs";
  // The devices are made in it afterwards: read-only comes last.
  const bool later = readonly && mount.type == "tmpfs" && IsDev(operation.destination);
  if (later) operation.attr.set &= ~static_cast<uint64_t>(MOUNT_ATTR_RDONLY);
  builder->Child(std::move(operation));
  return absl::OkStatus();
}

// In a user namespace that does not own the network namespace sysfs cannot be mounted: the host's, read-only. One
// that is joined by somebody who is root of a user namespace only is his.
bool SysfsNeedsBind(const oci::Spec& spec, const oci::Mount& mount, const Builder& builder) {
  if (mount.type != "sysfs" || builder.new_network) return false;
  return builder.user_namespace || (!builder.facts.cgroup.privileged &&
                                    spec.linux->FindNamespace(oci::NamespaceType::kNetwork) == nullptr);
}

absl::Status PlanMount(const CreateRequest& request, const oci::Mount& mount, const cgroup::Plan& cgroup,
                       Propagation fallback, Builder* builder) {
  if (mount.destination.empty()) return absl::InvalidArgumentError("the destination must not be empty");
  if (mount.type == "cgroup" || mount.type == "cgroup2") return PlanCgroupMount(mount, cgroup, builder);
  GANTRY_ASSIGN_OR_RETURN(MountOptions options, ParseMountOptions(mount.options));
  if (mount.type == "bind" || options.bind) return PlanBind(mount, request.bundle, fallback, builder);
  if (mount.type.empty()) {
    return absl::InvalidArgumentError("needs a type, or one of the options bind and rbind");
  }
  if (SysfsNeedsBind(*request.spec, mount, *builder)) {
    oci::Mount bind = mount;
    bind.type = "bind";
    bind.source = "/sys";
    bind.options = {"rbind", "rro", "rnosuid", "rnoexec", "rnodev"};
    return PlanBind(bind, request.bundle, fallback, builder);
  }
  return PlanFilesystem(*request.spec, mount, std::move(options), builder);
}

}  // namespace

absl::Status PlanBind(const oci::Mount& mount, const std::string& bundle, Propagation fallback,
                      Builder* builder) {
  GANTRY_ASSIGN_OR_RETURN(MountOptions options, ParseMountOptions(mount.options));
  if (mount.source.empty()) return absl::InvalidArgumentError("a bind mount needs a source");
  OpenTree tree;
  tree.slot = builder->NewSlot();
  tree.source = absl::StartsWith(mount.source, "/") ? mount.source : absl::StrCat(bundle, "/", mount.source);
  tree.recursive = options.recursive_bind;
  tree.attr = options.attr;
  if (tree.attr.propagation.value == 0) tree.attr.propagation = fallback;
  // Parameters of file systems mean nothing here; runc passes them by, too.
  tree.uid_mappings = mount.uid_mappings;
  tree.gid_mappings = mount.gid_mappings;
  tree.idmap_recursive = options.recursive_idmap;
  if (options.idmap && (mount.uid_mappings.empty() || mount.gid_mappings.empty())) {
    return absl::InvalidArgumentError("the option \"idmap\" needs uidMappings and gidMappings");
  }
  AttachMount attach{tree.slot, tree.source, Destination(mount)};
  if (builder->facts.unprivileged() && !tree.uid_mappings.empty()) {
    return absl::FailedPreconditionError("an id-mapped mount needs root");
  }
  builder->Tree(std::move(tree));
  builder->Child(std::move(attach));
  return absl::OkStatus();
}

// After the mount was planned: which file systems of the kernel can be seen, and where.
static void TrackKeptMounts(const oci::Mount& mount, Builder* builder) {
  constexpr size_t kMaxKept = 4;  // Child::kept_
  std::string destination = Destination(mount);
  while (destination.size() > 1 && destination.back() == '/') destination.pop_back();
  auto& kept = builder->kept_mounts;
  kept.erase(std::remove_if(kept.begin(), kept.end(),
                            [&destination](const std::string& known) {
                              return known == destination || destination == "/" ||
                                     absl::StartsWith(known, destination + "/");
                            }),
             kept.end());
  const auto* made = std::get_if<MountFilesystem>(&builder->child.back());
  if (made != nullptr && made->keep && kept.size() < kMaxKept) kept.push_back(std::move(destination));
}

absl::Status PlanMounts(const CreateRequest& request, const cgroup::Plan& cgroup, Builder* builder) {
  // Without a word on it a bind mount follows the host (umounts there must reach it, or it keeps them busy),
  // unless the container shares all.
  Propagation root;
  ParsePropagation(request.spec->linux->rootfs_propagation, &root);
  const Propagation fallback = root.value == MS_SHARED ? Propagation{} : Propagation{MS_SLAVE, true};
  for (size_t i = 0; i < request.spec->mounts.size(); i++) {
    const oci::Mount& mount = request.spec->mounts[i];
    absl::Status status = PlanMount(request, mount, cgroup, fallback, builder);
    if (!status.ok()) {
      return sys::Annotate(status, absl::StrCat("mounts[", i, "] (", mount.destination, ")"));
    }
    TrackKeptMounts(mount, builder);
  }
  return absl::OkStatus();
}

}  // namespace gantry::plan
