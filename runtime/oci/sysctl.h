// Names of kernel parameters (linux.sysctl). Pure and thread-safe.
#ifndef GANTRY_RUNTIME_OCI_SYSCTL_H_
#define GANTRY_RUNTIME_OCI_SYSCTL_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "runtime/oci/spec.h"

namespace gantry::oci {

// The file of `name` below /proc/sys: "net.ipv4.ip_forward" and "net/ipv4/ip_forward" are
// "net/ipv4/ip_forward". As with sysctl(8), the first separator decides which of '.' and '/' separates; the
// other one then stands for the first inside a component ("net.ipv4.conf.eth0/100.rp_filter").
// INVALID_ARGUMENT for a name with empty components,
// "." or "..", or nothing but one component.
absl::StatusOr<std::string> SysctlPath(absl::string_view name);

// The namespace that the parameter at `path` (as from SysctlPath) belongs to: kIpc, kNetwork, kUts or kUser;
// nothing for one that the whole host shares, which no container may change.
std::optional<NamespaceType> SysctlNamespace(absl::string_view path);

}  // namespace gantry::oci

#endif  // GANTRY_RUNTIME_OCI_SYSCTL_H_
