// Failpoints: named places that a test, or an operator of a test machine, makes fail.
//
//   if (const int error = sys::Failpoint("linux.Clone")) return ErrnoStatus("failpoint", "linux.Clone", error);
//
// Set by SetFailpoint, or by the environment: GANTRY_FAILPOINTS=linux.Clone=12,cgroup.Create=28 (name=errno).
// Unset, a failpoint costs a look at one flag. Set them before other threads run; Failpoint is thread-safe.
#ifndef GANTRY_RUNTIME_SYS_FAILPOINT_H_
#define GANTRY_RUNTIME_SYS_FAILPOINT_H_

#include "absl/strings/string_view.h"

namespace gantry::sys {

// The errno with which the place is to fail, or 0.
int Failpoint(absl::string_view name);

// `error` 0 unsets it.
void SetFailpoint(absl::string_view name, int error);

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_FAILPOINT_H_
