// config.json to Plan, on a host that the first byte makes up: every specification that validates is refused or
// planned, and a Plan can be printed.
#include <string>

#include "runtime/oci/spec.h"
#include "runtime/oci/validate.h"
#include "runtime/plan/planner.h"
#include "runtime/plan/print.h"
#include "test/fuzz/input.h"

namespace gantry::fuzz {
namespace {

plan::HostFacts MakeFacts(uint8_t choice) {
  plan::HostFacts facts;
  const bool unified = choice & 1;
  if (unified) {
    facts.cgroup.hierarchies = {
        {2, {"cpu", "memory", "pids", "io", "cpuset", "hugetlb"}, "/sys/fs/cgroup", "/"}};
  } else {
    facts.cgroup.hierarchies = {{1, {"memory"}, "/sys/fs/cgroup/memory", "/"},
                                {1, {"cpu", "cpuacct"}, "/sys/fs/cgroup/cpu,cpuacct", "/"},
                                {1, {"devices"}, "/sys/fs/cgroup/devices", "/x"},
                                {1, {"name=systemd"}, "/sys/fs/cgroup/systemd", "/"},
                                {2, {"hugetlb"}, "/sys/fs/cgroup/unified", "/"}};
  }
  facts.known_capabilities = (uint64_t{1} << 41) - 1;
  facts.capabilities = choice & 2 ? 0 : facts.known_capabilities;
  facts.apparmor = choice & 4;
  facts.selinux = choice & 8;
  facts.overlay_lowerdir_append = choice & 16;
  facts.mqueue = choice & 32;
  facts.cgroup.privileged = (choice & 64) == 0;
  return facts;
}

void Print(const absl::StatusOr<plan::Plan>& plan) {
  if (!plan.ok()) return;
  Check(plan->operations.empty() || !plan::ToText(*plan).empty(), "a Plan can be printed");
  Check(!plan::ToJson(*plan).empty(), "a Plan can be printed as JSON");
}

}  // namespace
}  // namespace gantry::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace gantry;
  absl::string_view input = fuzz::View(data, size);
  const uint8_t choice = fuzz::TakeByte(input);
  const plan::HostFacts facts = fuzz::MakeFacts(choice);
  auto spec = oci::ParseSpec(input);
  if (!spec.ok() || !oci::Validate(*spec).ok()) return 0;
  plan::CreateRequest request;
  request.spec = &*spec;
  request.id = "fuzz";
  request.bundle = "/bundle";
  if (choice & 64)
    request.rootfs_mounts = {{"overlay", "overlay", "", {"lowerdir=/a:/b", "upperdir=/u", "workdir=/w"}}};
  request.no_pivot = choice & 128;
  fuzz::Print(plan::PlanCreate(request, facts));
  if (spec->process) {
    plan::ExecRequest exec;
    exec.process = &*spec->process;
    exec.spec = &*spec;
    fuzz::Print(plan::PlanExec(exec, facts));
  }
  return 0;
}
