// What the files of the planner share. Internal to runtime/cgroup.
#ifndef GANTRY_RUNTIME_CGROUP_PLAN_INTERNAL_H_
#define GANTRY_RUNTIME_CGROUP_PLAN_INTERNAL_H_

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "runtime/cgroup/plan.h"

namespace gantry::cgroup::internal {

// Collects the writes of one plan. The first error sticks.
class Planner {
 public:
  explicit Planner(Plan* plan) : plan_(*plan) {}

  const absl::Status& status() const { return status_; }
  void Fail(absl::Status status) {
    if (status_.ok()) status_ = std::move(status);
  }

  // The directory that serves `controller`, of either version. Null (and an error that names `setting`) if the
  // host has none.
  const Directory* Need(absl::string_view controller, absl::string_view setting);
  const Directory* Find(absl::string_view controller) const;

  // Adds a write to the file of `directory`; `setting` is relative to "linux.resources.".
  void Add(const Directory* directory, absl::string_view file, std::string value, absl::string_view setting);
  void AddOr(const Directory* directory, absl::string_view file, std::string value,
             absl::string_view other_file, std::string other_value, absl::string_view setting);
  // The last write added may be left out where the kernel has no such file.
  void MayBeMissing() {
    if (!plan_.writes.empty()) plan_.writes.back().may_be_missing = true;
  }

 private:
  Plan& plan_;
  absl::Status status_;
};

void PlanMemory(Planner* planner, const oci::MemoryResources& memory);
void PlanCpu(Planner* planner, const oci::CpuResources& cpu);
void PlanBlockIo(Planner* planner, const oci::BlockIoResources& io);

// The scope of systemd's and the absolute paths of the directories, which `directories` has without it.
absl::Status PlanScope(const Host& host, const Placement& placement, Plan* plan);
// What systemd is to know of the limits, so that its own writes agree with ours.
absl::Status AddResourceProperties(const oci::Resources& resources, bool start, Plan* plan);
// The same for the devices. `names` is Host::Systemd's; null: the kernel's drivers are not known.
void AddDeviceProperties(const DevicePolicy& policy, const std::map<std::string, std::string>& names,
                         Plan* plan);

}  // namespace gantry::cgroup::internal

#endif  // GANTRY_RUNTIME_CGROUP_PLAN_INTERNAL_H_
