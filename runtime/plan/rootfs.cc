#include <sys/mount.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/plan/builder.h"
#include "runtime/plan/mount_options.h"
#include "runtime/plan/overlay.h"
#include "runtime/sys/status.h"

namespace gantry::plan {
namespace {

std::string RootPath(const CreateRequest& request) {
  const std::string& path = request.spec->root->path;
  if (absl::StartsWith(path, "/")) return path;
  return absl::StrCat(request.bundle, "/", path);
}

// Where a mount of a new file system goes: a detached mount, or (`by_path` set) the root's path.
absl::Status PlanRootFilesystem(const RootfsMount& mount, MountOptions options, const std::string& by_path,
                                Slot slot, Builder* builder) {
  if (mount.type == "overlay") {
    std::vector<Param> split;
    const bool append = builder->facts.overlay_lowerdir_append && SplitOverlay(options.params, &split);
    if (append) {
      options.params = std::move(split);
    } else if (!by_path.empty()) {
      builder->Child(MountRootByPath{slot, mount.type, mount.source, by_path, MountData(options.params),
                                     MountFlags(options.attr)});
      return absl::OkStatus();
    } else {
      return absl::FailedPreconditionError("rootfs: this overlay can only be mounted as the root itself");
    }
  }
  builder->Before(NewMount{slot, mount.type, mount.source, std::move(options.params), options.attr});
  if (!by_path.empty()) builder->Child(AttachRoot{slot, by_path});
  return absl::OkStatus();
}

absl::Status PlanRootfsMount(const RootfsMount& mount, const std::string& root_path, bool first,
                             Builder* builder) {
  auto options = ParseMountOptions(mount.options);
  if (!options.ok()) return sys::Annotate(options.status(), "rootfs");
  const bool is_root = mount.target.empty() || mount.target == "/";
  if (is_root != first) {
    return absl::InvalidArgumentError(first
                                          ? "rootfs: the first mount must be the root's own, without a target"
                                          : "rootfs: mounts after the first need a target below the root");
  }
  const Slot slot = first ? kRootSlot : builder->NewSlot();
  if (!options->bind && mount.type != "bind") {
    GANTRY_RETURN_IF_ERROR(
        PlanRootFilesystem(mount, *std::move(options), first ? root_path : "", slot, builder));
  } else {
    MountAttr attr = options->attr;
    if (attr.propagation.value == 0) attr.propagation = {MS_PRIVATE, true};
    builder->Tree(OpenTree{slot, mount.source, options->recursive_bind, attr, {}, {}, false});
    if (first) builder->Child(AttachRoot{slot, root_path});
  }
  if (!first) builder->Child(AttachMount{slot, mount.source, mount.target});
  return absl::OkStatus();
}

}  // namespace

absl::Status PlanRootfs(const CreateRequest& request, Builder* builder) {
  const std::string path = RootPath(request);
  // A namespace in which others live stays as it is.
  if (builder->joined_mounts == kNoSlot) builder->Child(SlaveMounts{});
  builder->trees_at = builder->child.size();
  Propagation wanted;
  if (!request.spec->linux->rootfs_propagation.empty() &&
      !ParsePropagation(request.spec->linux->rootfs_propagation, &wanted)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "linux.rootfsPropagation: must be private, slave, shared or unbindable, or one of these with an r "
        "before it; found \"",
        request.spec->linux->rootfs_propagation, "\""));
  }
  if (request.rootfs_mounts.empty()) {
    // Cut off from the host either way: what is mounted below the root while it is set up must not get out. A
    // slave still receives.
    MountAttr attr;
    const bool receives = wanted.value == MS_SLAVE || wanted.value == MS_SHARED;
    attr.propagation = {static_cast<uint64_t>(receives ? MS_SLAVE : MS_PRIVATE), true};
    builder->Tree(OpenTree{kRootSlot, path, true, attr, {}, {}, false});
    builder->Child(AttachRoot{kRootSlot, path});
    return absl::OkStatus();
  }
  bool first = true;
  for (const RootfsMount& mount : request.rootfs_mounts) {
    GANTRY_RETURN_IF_ERROR(PlanRootfsMount(mount, path, first, builder));
    first = false;
  }
  return absl::OkStatus();
}

absl::Status PlanRootSwitch(const CreateRequest& request, Builder* builder) {
  const bool shared = builder->joined_mounts != kNoSlot;
  builder->Child(SwitchRoot{!request.no_pivot && !shared, shared});
  SetRootAttr attr;
  attr.readonly = request.spec->root->readonly;
  ParsePropagation(request.spec->linux->rootfs_propagation, &attr.propagation);
  attr.propagation.recursive = false;  // the other mounts have options of their own
  if (attr.readonly || attr.propagation.value != 0) builder->Child(attr);
  return absl::OkStatus();
}

}  // namespace gantry::plan
