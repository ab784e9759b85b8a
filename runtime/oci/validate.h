// The rules of the parts of a specification, one file per subject. Internal to runtime/oci.
#ifndef GANTRY_RUNTIME_OCI_VALIDATE_H_
#define GANTRY_RUNTIME_OCI_VALIDATE_H_

#include <initializer_list>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "runtime/oci/spec.h"

namespace gantry::oci::internal {

// INVALID_ARGUMENT: "field: rule".
absl::Status Violation(absl::string_view field, absl::string_view rule);
// For a message: quoted, escaped, cut after 100 bytes.
std::string Quoted(absl::string_view text);
bool OneOf(absl::string_view text, std::initializer_list<absl::string_view> known);
// A list as in cpuset(7): "0-3,7". Empty is not one.
absl::Status CheckCpuList(absl::string_view field, absl::string_view list);
// A network interface's name (at most 15 bytes, none of / : and white space).
bool IsInterfaceName(absl::string_view name);
// uid and gid mappings: sizes, overflow, overlap.
absl::Status CheckMappings(absl::string_view field, const std::vector<IdMapping>& mappings);
// No list longer than a container could use; first of all, as other rules compare entries with each other.
absl::Status CheckCounts(const Spec& spec);
absl::Status CheckCounts(const Process& process);
absl::Status CheckCounts(const Resources& resources);
absl::Status CheckLinux(const Linux& linux);
absl::Status CheckSeccomp(const Seccomp& seccomp);

}  // namespace gantry::oci::internal

#endif  // GANTRY_RUNTIME_OCI_VALIDATE_H_
