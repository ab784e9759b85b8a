// containerd.runc.v1.Options, as far as they are about a container.
#ifndef GANTRY_SHIM_SERVICE_RUNTIME_OPTIONS_H_
#define GANTRY_SHIM_SERVICE_RUNTIME_OPTIONS_H_

#include <string>

#include "absl/status/status.h"
#include "google/protobuf/any.pb.h"
#include "shim/task/container.h"

namespace gantry::shim {

// Sets what the options say; those of other runtimes say nothing. `shim_cgroup` is for JoinShimCgroup.
// INVALID_ARGUMENT for bytes that are no such message.
absl::Status ApplyRuntimeOptions(const google::protobuf::Any& options, const std::string& namespace_name,
                                 CreateSpec* spec, std::string* shim_cgroup);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_SERVICE_RUNTIME_OPTIONS_H_
