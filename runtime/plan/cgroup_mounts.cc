// A mount of type "cgroup" in the container: on v2 one file system, on v1 a tmpfs with one directory per
// hierarchy, each showing the container's own cgroup as its root.
#include <sys/mount.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/plan/builder.h"
#include "runtime/plan/mount_options.h"
#include "runtime/sys/status.h"

namespace gantry::plan {
namespace {

std::string Basename(absl::string_view path) {
  const size_t slash = path.rfind('/');
  return std::string(slash == absl::string_view::npos ? path : path.substr(slash + 1));
}

const cgroup::Directory* FindDirectory(const cgroup::Plan& plan, const std::string& mount_point) {
  for (const cgroup::Directory& directory : plan.directories) {
    if (directory.mount_point == mount_point) return &directory;
  }
  return nullptr;
}

MountAttr ReadonlyAttr() {
  MountAttr attr;
  attr.set = MOUNT_ATTR_RDONLY;
  return attr;
}

// One hierarchy onto `destination`. With a cgroup namespace of its own a new mount is rooted at the
// container's cgroup; without, its directory is bound.
void PlanHierarchy(const cgroup::Hierarchy& hierarchy, const cgroup::Plan& plan, const MountAttr& attr,
                   const std::string& destination, Builder* builder) {
  if (builder->new_cgroup_namespace) {
    MountFilesystem mount;
    mount.type = hierarchy.version == 2 ? "cgroup2" : "cgroup";
    mount.source = mount.type;
    mount.destination = destination;
    mount.attr = attr;
    if (hierarchy.version == 1) {
      for (const std::string& controller : hierarchy.controllers) {
        if (absl::StartsWith(controller, "name=")) {
          mount.params.push_back({"none", std::nullopt});
          mount.params.push_back({"name", controller.substr(5)});
        } else {
          mount.params.push_back({controller, std::nullopt});
        }
      }
    }
    builder->Child(std::move(mount));
    return;
  }
  const cgroup::Directory* directory = FindDirectory(plan, hierarchy.mount_point);
  if (directory == nullptr) return;  // a hierarchy in which the container has no cgroup
  OpenTree tree;
  tree.slot = builder->NewSlot();
  // An ordinary user's container may well have no cgroup: then what its user sees himself.
  tree.source = builder->facts.unprivileged() ? hierarchy.mount_point : directory->path;
  tree.attr = attr;
  if (tree.attr.propagation.value == 0) tree.attr.propagation = {MS_PRIVATE, false};
  builder->Child(AttachMount{tree.slot, tree.source, destination});
  builder->Tree(std::move(tree));
}

}  // namespace

absl::Status PlanCgroupMount(const oci::Mount& mount, const cgroup::Plan& plan, Builder* builder) {
  GANTRY_ASSIGN_OR_RETURN(MountOptions options, ParseMountOptions(mount.options));
  const cgroup::Host& host = builder->facts.cgroup;
  if (host.hierarchies.empty()) {
    return absl::FailedPreconditionError(
        "this host has no cgroup file system mounted; mount one or leave it out");
  }
  const std::string destination =
      absl::StartsWith(mount.destination, "/") ? mount.destination : absl::StrCat("/", mount.destination);
  if (host.unified_only() || mount.type == "cgroup2") {
    const cgroup::Hierarchy* unified = host.Unified();
    if (unified == nullptr)
      return absl::FailedPreconditionError("this host has no cgroup2 file system mounted");
    PlanHierarchy(*unified, plan, options.attr, destination, builder);
    return absl::OkStatus();
  }
  const bool readonly = (options.attr.set & MOUNT_ATTR_RDONLY) != 0;
  MountFilesystem top;
  top.type = top.source = "tmpfs";
  top.destination = destination;
  top.params = {{"mode", "755"}};
  top.attr = options.attr;
  top.attr.set &= ~static_cast<uint64_t>(MOUNT_ATTR_RDONLY);
  builder->Child(top);
  for (const cgroup::Hierarchy& hierarchy : host.hierarchies) {
    const std::string name = Basename(hierarchy.mount_point);
    if (hierarchy.version == 2 && name != "unified") continue;
    PlanHierarchy(hierarchy, plan, options.attr, absl::StrCat(destination, "/", name), builder);
    if (hierarchy.version == 1 && hierarchy.controllers.size() > 1) {
      for (const std::string& controller : hierarchy.controllers) {
        if (controller != name)
          builder->Child(MakeSymlink{absl::StrCat(destination, "/", controller), name, false});
      }
    }
  }
  if (readonly) builder->Child(SetMountAttr{destination, ReadonlyAttr()});
  return absl::OkStatus();
}

}  // namespace gantry::plan
