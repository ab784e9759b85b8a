// A Plan for people and for programs: what the kernel will be asked for, in order. Pure; thread-safe.
#ifndef GANTRY_RUNTIME_PLAN_PRINT_H_
#define GANTRY_RUNTIME_PLAN_PRINT_H_

#include <string>

#include "runtime/plan/plan.h"

namespace gantry::plan {

// One line per operation, "Name  member=value ...", members that are empty or zero left out; the writes of a cgroup,
// one line each, are indented below their operation. Ends with a newline. Warnings come last.
std::string ToText(const Plan& plan);

// {"operations": [{"op": "Clone", "flags": ["NEWPID", ...], ...}, ...], "warnings": [...]}, every member present.
std::string ToJson(const Plan& plan, bool pretty = false);

}  // namespace gantry::plan

#endif  // GANTRY_RUNTIME_PLAN_PRINT_H_
