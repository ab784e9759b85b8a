// The seccomp profile of containers that bring none: an allow-list, everything else answers EPERM, calls
// younger than the list answer ENOSYS. Pure and thread-safe.
//
// The set of calls is that of Docker's and containerd's default profile, with what Gantry denies on top:
// sockets of AF_VSOCK (they reach the hypervisor past every network policy) and AF_ALG (CVE-2026-31431).
#ifndef GANTRY_RUNTIME_OCI_DEFAULT_SECCOMP_H_
#define GANTRY_RUNTIME_OCI_DEFAULT_SECCOMP_H_

#include <string>
#include <vector>

#include "runtime/oci/spec.h"

namespace gantry::oci {

// `bounding` (names as in "CAP_SYS_ADMIN") opens the calls that such a capability is for.
Seccomp DefaultSeccomp(const std::vector<std::string>& bounding);

}  // namespace gantry::oci

#endif  // GANTRY_RUNTIME_OCI_DEFAULT_SECCOMP_H_
