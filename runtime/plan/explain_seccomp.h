// The seccomp sections of an Explanation. Internal to runtime/plan. Pure.
#ifndef GANTRY_RUNTIME_PLAN_EXPLAIN_SECCOMP_H_
#define GANTRY_RUNTIME_PLAN_EXPLAIN_SECCOMP_H_

#include "runtime/oci/spec.h"
#include "runtime/plan/explain.h"

namespace gantry::plan {

// Adds to `summary` how many calls get which answer, and to `dangerous` which of DangerousCalls() get through.
void ExplainSeccomp(const oci::Seccomp& profile, Section* summary, Section* dangerous);

}  // namespace gantry::plan

#endif  // GANTRY_RUNTIME_PLAN_EXPLAIN_SECCOMP_H_
