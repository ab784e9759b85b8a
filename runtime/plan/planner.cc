#include "runtime/plan/planner.h"

#include <sched.h>

#include <algorithm>
#include <iterator>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "runtime/cgroup/plan.h"
#include "runtime/plan/builder.h"
#include "runtime/sys/status.h"

namespace gantry::plan {
namespace {

// What an ordinary user cannot have, said before the kernel says EPERM.
absl::Status CheckRights(const CreateRequest& request, const HostFacts& facts) {
  if (!facts.unprivileged()) return absl::OkStatus();
  if (request.spec->linux->FindNamespace(oci::NamespaceType::kUser) == nullptr) {
    return absl::FailedPreconditionError(
        "linux.namespaces: without root a container needs a user namespace; `gantry-oci spec --rootless` "
        "writes a "
        "configuration that has one");
  }
  for (const RootfsMount& mount : request.rootfs_mounts) {
    if (mount.type != "bind") {
      return absl::FailedPreconditionError(
          absl::StrCat("rootfs: mounting ", mount.type, " from outside needs root; mount it on root.path"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckRequest(const CreateRequest& request, const HostFacts& facts) {
  const oci::Spec& spec = *request.spec;
  if (!spec.process.has_value())
    return absl::InvalidArgumentError("process: must be there to start a container");
  if (!spec.root.has_value() || spec.root->path.empty()) {
    return absl::InvalidArgumentError("root.path: must name the root file system");
  }
  if (!spec.linux.has_value()) return absl::InvalidArgumentError("linux: must be there on this platform");
  return CheckRights(request, facts);
}

HiddenPath Hidden(const std::string& path, const Builder& builder) {
  HiddenPath hidden{path, ""};
  if (absl::StrContains(path, "/../") || absl::EndsWith(path, "/..")) return hidden;
  for (const std::string& mount : builder.kept_mounts) {
    if (absl::StartsWith(path, mount + "/") && mount.size() > hidden.in.size()) hidden.in = mount;
  }
  return hidden;
}

// config-linux.md, "Cgroup ownership": whom the container's own cgroup belongs to, where it can write there at all.
std::optional<uint32_t> CgroupOwner(const oci::Spec& spec, const cgroup::Host& host) {
  if (!host.unified_only()) return std::nullopt;
  bool new_cgroup_namespace = false, writable = false;
  for (const oci::Namespace& entry : spec.linux->namespaces) {
    new_cgroup_namespace |= entry.type == oci::NamespaceType::kCgroup && entry.path.empty();
  }
  for (const oci::Mount& mount : spec.mounts) {
    if (mount.type != "cgroup" && mount.type != "cgroup2") continue;
    writable = std::find(mount.options.begin(), mount.options.end(), "ro") == mount.options.end();
  }
  if (!new_cgroup_namespace || !writable) return std::nullopt;
  const uint32_t uid = spec.process->user.uid;
  for (const oci::IdMapping& map : spec.linux->uid_mappings) {
    if (uid >= map.container_id && uid - map.container_id < map.size)
      return map.host_id + (uid - map.container_id);
  }
  return std::nullopt;
}

absl::Status PlanMasks(const oci::Linux& section, Builder* builder) {
  for (const std::string& path : section.readonly_paths) builder->Child(ReadonlyPath{Hidden(path, *builder)});
  for (const std::string& path : section.masked_paths) builder->Child(MaskPath{Hidden(path, *builder)});
  return absl::OkStatus();
}

void PlanCreateHooks(const oci::Hooks& hooks, Builder* builder) {
  // The parent also fills in the state that createContainer hooks read: they wait for it too.
  if (!hooks.prestart.empty() || !hooks.create_runtime.empty() || !hooks.create_container.empty()) {
    builder->Child(HostHooks{hooks.prestart, hooks.create_runtime});
  }
  if (!hooks.create_container.empty()) builder->Child(ContainerHooks{false, hooks.create_container});
}

}  // namespace

void Builder::Tree(OpenTree tree) {
  if (facts.unprivileged()) {
    trees.push_back(std::move(tree));
    return;
  }
  tree.mount_namespace = joined_mounts;
  Before(std::move(tree));
}

Plan Builder::Finish() && {
  Plan plan;
  child.insert(child.begin() + static_cast<std::ptrdiff_t>(trees_at), std::make_move_iterator(trees.begin()),
               std::make_move_iterator(trees.end()));
  plan.operations.reserve(before.size() + 1 + parent.size() + child.size());
  const auto append = [&plan](std::vector<Operation>& part) {
    plan.operations.insert(plan.operations.end(), std::make_move_iterator(part.begin()),
                           std::make_move_iterator(part.end()));
  };
  append(before);
  plan.operations.push_back(std::move(clone));
  append(parent);
  append(child);
  plan.slots = slots;
  plan.remount = !facts.mount_setattr;
  plan.warnings = std::move(warnings);
  return plan;
}

absl::StatusOr<Plan> PlanCreate(const CreateRequest& request, const HostFacts& facts) {
  GANTRY_RETURN_IF_ERROR(CheckRequest(request, facts));
  const oci::Spec& spec = *request.spec;
  Builder builder(facts);
  builder.NewSlot();  // kRootSlot
  const oci::Resources* resources = spec.linux->resources.has_value() ? &*spec.linux->resources : nullptr;
  cgroup::Placement placement = {spec.linux->cgroups_path, request.id};
  placement.systemd = request.systemd_cgroup;
  placement.annotations = &spec.annotations;
  GANTRY_ASSIGN_OR_RETURN(cgroup::Plan cgroup, cgroup::PlanCreate(facts.cgroup, placement, resources));
  cgroup.owner_uid = CgroupOwner(spec, facts.cgroup);
  // Limits that cannot be had are not left out unasked.
  const bool optional = request.rootless.value_or(!facts.cgroup.privileged && cgroup.writes.empty());
  builder.Before(CreateCgroup{cgroup, optional});

  GANTRY_RETURN_IF_ERROR(PlanResctrl(*spec.linux, request.id, /*exec=*/false, &builder));
  GANTRY_RETURN_IF_ERROR(PlanNamespaces(spec, &builder));
  GANTRY_RETURN_IF_ERROR(PlanRootfs(request, &builder));
  // Up to here a new user namespace's child is the host's root as far as files go, and reaches the bundle.
  if (builder.user_namespace) builder.Child(BecomeRoot{});
  GANTRY_RETURN_IF_ERROR(PlanHostAndSysctl(spec, &builder));
  GANTRY_RETURN_IF_ERROR(PlanMounts(request, cgroup, &builder));
  GANTRY_RETURN_IF_ERROR(PlanDevices(spec, &builder));
  GANTRY_RETURN_IF_ERROR(PlanMasks(*spec.linux, &builder));
  PlanCreateHooks(spec.hooks, &builder);
  GANTRY_RETURN_IF_ERROR(PlanRootSwitch(request, &builder));
  builder.Child(SetStdio{spec.process->user.uid});

  ProcessContext context;
  context.process = &*spec.process;
  context.linux_section = &*spec.linux;
  if (!request.no_new_keyring) context.keyring = absl::StrCat("_ses.", request.id);
  context.preserve_fds = request.preserve_fds;
  context.start_hooks = &spec.hooks.start_container;
  GANTRY_RETURN_IF_ERROR(PlanProcess(context, &builder));
  if (!facts.mount_setattr) GANTRY_RETURN_IF_ERROR(PlanWithoutMountSetattr(&builder));
  return std::move(builder).Finish();
}

absl::StatusOr<Plan> PlanExec(const ExecRequest& request, const HostFacts& facts) {
  Builder builder(facts);
  builder.NewSlot();  // kRootSlot
  builder.user_namespace = (request.join_flags & CLONE_NEWUSER) != 0;
  builder.clone.helper = true;
  if (request.spec != nullptr && request.spec->linux.has_value() && !request.id.empty()) {
    GANTRY_RETURN_IF_ERROR(PlanResctrl(*request.spec->linux, request.id, /*exec=*/true, &builder));
  }
  builder.Child(JoinCgroup{true});
  const oci::Namespace* mounts = request.spec != nullptr && request.spec->linux.has_value()
                                     ? request.spec->linux->FindNamespace(oci::NamespaceType::kMount)
                                     : nullptr;
  builder.only_chroot = mounts != nullptr && !mounts->path.empty();
  builder.Child(JoinProcess{{request.join_flags}, builder.only_chroot});
  if (builder.user_namespace) builder.Child(BecomeRoot{});
  builder.Child(NewSession{});
  if (request.process->terminal) {
    const oci::ConsoleSize size = request.process->console_size.value_or(oci::ConsoleSize());
    builder.Child(OpenTerminal{request.process->user.uid, size.height, size.width, false});
  }
  builder.Child(SetStdio{request.process->user.uid});
  ProcessContext context;
  context.process = request.process;
  if (request.spec != nullptr && request.spec->linux.has_value())
    context.linux_section = &*request.spec->linux;
  context.preserve_fds = request.preserve_fds;
  context.exec = true;
  GANTRY_RETURN_IF_ERROR(PlanProcess(context, &builder));
  return std::move(builder).Finish();
}

}  // namespace gantry::plan
