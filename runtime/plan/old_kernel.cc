#include <sys/mount.h>

#include <variant>

#include "absl/strings/str_cat.h"
#include "runtime/plan/builder.h"

namespace gantry::plan {
namespace {

absl::Status CheckRemountable(const MountAttr& attr, const std::string& what) {
  if ((attr.recursive_set | attr.recursive_clear) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(what, ": options for a whole tree of mounts (rro, rnosuid, ...) need Linux 5.12"));
}

// The operation that attaches the mount of `slot`.
MountAttr* AttrOfAttaching(Slot slot, std::vector<Operation>& operations) {
  for (Operation& operation : operations) {
    if (auto* root = std::get_if<AttachRoot>(&operation); root != nullptr && root->slot == slot)
      return &root->attr;
    if (auto* mount = std::get_if<AttachMount>(&operation); mount != nullptr && mount->slot == slot)
      return &mount->attr;
  }
  return nullptr;
}

}  // namespace

absl::Status PlanWithoutMountSetattr(Builder* builder) {
  for (Operation& operation : builder->before) {
    if (auto* tree = std::get_if<OpenTree>(&operation)) {
      if (!tree->uid_mappings.empty() || !tree->gid_mappings.empty()) {
        return absl::FailedPreconditionError(
            absl::StrCat(tree->source, ": an id-mapped mount needs Linux 5.12"));
      }
      if (absl::Status status = CheckRemountable(tree->attr, tree->source); !status.ok()) return status;
      if (MountAttr* later = AttrOfAttaching(tree->slot, builder->child)) {
        *later = tree->attr;
        tree->attr = {};
      }
    } else if (auto* made = std::get_if<NewMount>(&operation)) {
      // The mount's own attributes come with its making.
      if (MountAttr* later = AttrOfAttaching(made->slot, builder->child)) {
        later->propagation = made->attr.propagation;
        made->attr.propagation = {};
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace gantry::plan
