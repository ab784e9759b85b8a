// A few words each on capabilities and dangerous system calls; what `explain` teaches. Internal to runtime/plan.
#ifndef GANTRY_RUNTIME_PLAN_WORDS_H_
#define GANTRY_RUNTIME_PLAN_WORDS_H_

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "runtime/oci/spec.h"

namespace gantry::plan {

// What a process with the capability of this bit may do (capabilities(7)); "" for one without a name.
absl::string_view CapabilityMeaning(int bit);

// A system call by which a container could get at the host if nothing else stood in the way.
struct DangerousCall {
  const char* name;
  const char* meaning;
};
absl::Span<const DangerousCall> DangerousCalls();

// What a namespace of its own gives a container, and what it means to have none.
absl::string_view OwnNamespaceMeaning(oci::NamespaceType type);
absl::string_view SharedNamespaceMeaning(oci::NamespaceType type);

}  // namespace gantry::plan

#endif  // GANTRY_RUNTIME_PLAN_WORDS_H_
