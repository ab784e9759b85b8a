// Internal to runtime/plan: the plan while it is being made, and the parts that make it, one file each.
#ifndef GANTRY_RUNTIME_PLAN_BUILDER_H_
#define GANTRY_RUNTIME_PLAN_BUILDER_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "runtime/oci/spec.h"
#include "runtime/plan/planner.h"

namespace gantry::plan {

struct Builder {
  explicit Builder(const HostFacts& host) : facts(host) {
    // As many as the usual container takes: growing copies them all, each time to memory never touched before.
    constexpr size_t kBefore = 16, kChild = 96;
    before.reserve(kBefore);
    child.reserve(kChild);
  }

  const HostFacts& facts;
  // The three parts that Finish puts one after the other around Clone.
  std::vector<Operation> before;  // the parent's, before Clone
  Clone clone;
  std::vector<Operation> parent;  // the parent's, after it
  std::vector<Operation> child;
  int slots = 0;
  std::vector<std::string> warnings;

  // A user namespace other than ours: file systems and devices need other ways.
  bool user_namespace = false;
  bool new_network = false;
  Slot joined_network = kNoSlot;  // of a network namespace by path
  bool new_pid = false;
  bool new_cgroup_namespace = false;
  Slot joined_mounts = kNoSlot;  // of a mount namespace by path
  bool only_chroot = false;      // the root is held by chroot(2) alone

  // The host's mounts as an ordinary user copies them: by the child, which has the right only in its own user
  // namespace. They go where `trees_at` of the child's operations is, before its mounts change anything.
  std::vector<OpenTree> trees;
  size_t trees_at = 0;

  // Whether no device can be made: in a user namespace, also in one that we are in ourselves.
  bool only_bound_devices() const { return user_namespace || !facts.cgroup.privileged; }

  // Destinations of new file systems of the kernel that nothing covers, see HiddenPath.
  std::vector<std::string> kept_mounts;

  Slot NewSlot() { return slots++; }
  void Before(Operation operation) { before.push_back(std::move(operation)); }
  void Tree(OpenTree tree);
  void Parent(Operation operation) { parent.push_back(std::move(operation)); }
  void Child(Operation operation) { child.push_back(std::move(operation)); }
  Plan Finish() &&;
};

// namespaces.cc
absl::Status PlanNamespaces(const oci::Spec& spec, Builder* builder);
absl::Status PlanHostAndSysctl(const oci::Spec& spec, Builder* builder);

// net_devices.cc
absl::Status PlanNetDevices(const oci::Linux& section, Builder* builder);

// resctrl.cc: for create, and for exec, which only joins.
absl::Status PlanResctrl(const oci::Linux& section, const std::string& id, bool exec, Builder* builder);

// memory_policy.cc
absl::Status PlanMemoryPolicy(const oci::Linux& section, Builder* builder);

// rootfs.cc
absl::Status PlanRootfs(const CreateRequest& request, Builder* builder);
absl::Status PlanRootSwitch(const CreateRequest& request, Builder* builder);

// mounts.cc
absl::Status PlanMounts(const CreateRequest& request, const cgroup::Plan& cgroup, Builder* builder);
absl::Status PlanBind(const oci::Mount& mount, const std::string& bundle, Propagation fallback,
                      Builder* builder);

// old_kernel.cc: attributes by mount(2), after attaching. FAILED_PRECONDITION for what cannot be said that way.
absl::Status PlanWithoutMountSetattr(Builder* builder);

// cgroup_mounts.cc
absl::Status PlanCgroupMount(const oci::Mount& mount, const cgroup::Plan& cgroup, Builder* builder);

// devices.cc
absl::Status PlanDevices(const oci::Spec& spec, Builder* builder);

// process.cc: limits and the like before the user is set; then user, capabilities, program, filter.
struct ProcessContext {
  const oci::Process* process = nullptr;
  const oci::Linux* linux_section = nullptr;  // may be null
  std::string keyring;                        // the name of a new session keyring; empty: none
  int preserve_fds = 0;
  bool exec = false;  // joins a running container: no waiting for start, nothing is made
  const std::vector<oci::Hook>* start_hooks = nullptr;
};
absl::Status PlanProcess(const ProcessContext& context, Builder* builder);

}  // namespace gantry::plan

#endif  // GANTRY_RUNTIME_PLAN_BUILDER_H_
