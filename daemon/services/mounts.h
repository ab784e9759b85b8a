// Mounts of the wire and of snapshotters, each as the other. Thread-safe: plain functions.
#ifndef GANTRY_DAEMON_SERVICES_MOUNTS_H_
#define GANTRY_DAEMON_SERVICES_MOUNTS_H_

#include <google/protobuf/repeated_ptr_field.h>

#include <vector>

#include "api/proto/containerd/types/mount.pb.h"
#include "snapshotter/snapshotter.h"

namespace gantry::services {

inline void ToProto(const std::vector<snapshotter::Mount>& mounts,
                    google::protobuf::RepeatedPtrField<containerd::types::Mount>* out) {
  for (const snapshotter::Mount& mount : mounts) {
    containerd::types::Mount* to = out->Add();
    to->set_type(mount.type);
    to->set_source(mount.source);
    to->set_target(mount.target);
    for (const std::string& option : mount.options) to->add_options(option);
  }
}

inline std::vector<snapshotter::Mount> FromProto(
    const google::protobuf::RepeatedPtrField<containerd::types::Mount>& mounts) {
  std::vector<snapshotter::Mount> out;
  for (const containerd::types::Mount& mount : mounts) {
    out.push_back(
        {mount.type(), mount.source(), mount.target(), {mount.options().begin(), mount.options().end()}});
  }
  return out;
}

}  // namespace gantry::services

#endif  // GANTRY_DAEMON_SERVICES_MOUNTS_H_
