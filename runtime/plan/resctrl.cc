#include "absl/strings/str_cat.h"
#include "runtime/plan/builder.h"

namespace gantry::plan {

std::string ResctrlGroup(const oci::IntelRdt& rdt, const std::string& id) {
  if (rdt.clos_id.empty()) return id;
  return rdt.clos_id == "/" ? "" : rdt.clos_id;
}

absl::Status PlanResctrl(const oci::Linux& section, const std::string& id, bool exec, Builder* builder) {
  if (!section.intel_rdt.has_value()) return absl::OkStatus();
  const oci::IntelRdt& rdt = *section.intel_rdt;
  OpenResctrlGroup open;
  open.group = ResctrlGroup(rdt, id);
  open.exclusive = rdt.clos_id.empty();
  if (!rdt.l3_cache_schema.empty()) open.must_hold.push_back(rdt.l3_cache_schema);
  if (!rdt.mem_bw_schema.empty()) open.must_hold.push_back(rdt.mem_bw_schema);
  open.schemata = rdt.schemata;
  open.create = open.exclusive || !open.must_hold.empty() || !open.schemata.empty();
  if (rdt.enable_monitoring) open.monitor = id;
  builder->Parent(JoinResctrlGroup{open.group, open.monitor});
  if (!exec) builder->Before(std::move(open));
  return absl::OkStatus();
}

std::vector<std::string> OwnResctrlGroups(const oci::Linux& section, const std::string& id) {
  if (!section.intel_rdt.has_value()) return {};
  const oci::IntelRdt& rdt = *section.intel_rdt;
  if (rdt.clos_id.empty()) return {id};  // its monitoring groups go with it
  if (!rdt.enable_monitoring) return {};
  const std::string group = ResctrlGroup(rdt, id);
  return {absl::StrCat(group, group.empty() ? "" : "/", "mon_groups/", id)};
}

}  // namespace gantry::plan
