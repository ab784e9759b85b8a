// The same mount, said to fsconfig(2) or to mount(2). Pure.
#ifndef GANTRY_RUNTIME_PLAN_OVERLAY_H_
#define GANTRY_RUNTIME_PLAN_OVERLAY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/plan/plan.h"

namespace gantry::plan {

// The parameters of an overlay with one "lowerdir+" per layer. false if it cannot be said that way.
bool SplitOverlay(const std::vector<Param>& params, std::vector<Param>* split);

// The flags (MS_*) and the data of mount(2).
uint64_t MountFlags(const MountAttr& attr);
std::string MountData(const std::vector<Param>& params);

}  // namespace gantry::plan

#endif  // GANTRY_RUNTIME_PLAN_OVERLAY_H_
