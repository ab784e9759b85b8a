// The writers of the parts of a specification, one file per subject. Internal to runtime/oci.
#ifndef GANTRY_RUNTIME_OCI_WRITE_H_
#define GANTRY_RUNTIME_OCI_WRITE_H_

#include "runtime/oci/json_writer.h"
#include "runtime/oci/spec.h"
#include "runtime/oci/state.h"

namespace gantry::oci {

void Write(JsonWriter& json, const Process& process);
void Write(JsonWriter& json, const IdMapping& mapping);
void Write(JsonWriter& json, const Linux& linux);
void Write(JsonWriter& json, const Resources& resources);
void Write(JsonWriter& json, const Seccomp& seccomp);

}  // namespace gantry::oci

#endif  // GANTRY_RUNTIME_OCI_WRITE_H_
