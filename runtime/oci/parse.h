// The readers of the parts of a specification, one file per subject. Internal to runtime/oci. Each expects an
// existing value and reports through the node (see json_node.h).
#ifndef GANTRY_RUNTIME_OCI_PARSE_H_
#define GANTRY_RUNTIME_OCI_PARSE_H_

#include "runtime/oci/json_node.h"
#include "runtime/oci/spec.h"

// In the structs' own namespace, so that the templates of json_node.h find them.
namespace gantry::oci {

void Read(const internal::Node& node, Process* out);
void Read(const internal::Node& node, IdMapping* out);
void Read(const internal::Node& node, Linux* out);
void Read(const internal::Node& node, Resources* out);
void Read(const internal::Node& node, Seccomp* out);

}  // namespace gantry::oci

#endif  // GANTRY_RUNTIME_OCI_PARSE_H_
