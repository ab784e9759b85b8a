// From linux.seccomp of the specification to the program that the kernel runs at each system call.
//
// Compiled by libseccomp (before the clone: it allocates), with one thing added that libseccomp 2.5 cannot say:
// a system call newer than all that the profile names answers ENOSYS instead of the profile's errno, because a
// C library that probes for a new call falls back on ENOSYS but gives up on EPERM. Sources: seccomp(2),
// config-linux.md ("Seccomp"). Thread-safe: no state.
#ifndef GANTRY_RUNTIME_LINUX_SECCOMP_H_
#define GANTRY_RUNTIME_LINUX_SECCOMP_H_

#include <linux/filter.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "runtime/oci/spec.h"

namespace gantry::linux {

// The BPF program for seccomp(2). A rule for a system call that this libseccomp or an architecture does not know
// is left out. INVALID_ARGUMENT names the rule that makes no sense; UNIMPLEMENTED an action or architecture that
// libseccomp lacks.
absl::StatusOr<std::vector<sock_filter>> CompileSeccomp(const oci::Seccomp& profile);

// The same, kept in `directory` (seccomp_cache.h) if that is not empty.
absl::StatusOr<std::vector<sock_filter>> CompileSeccomp(const oci::Seccomp& profile,
                                                        const std::string& directory);

}  // namespace gantry::linux

#endif  // GANTRY_RUNTIME_LINUX_SECCOMP_H_
