// A cgroup's figures as containerd's metric messages. Pure.
#ifndef GANTRY_SHIM_SERVICE_METRICS_H_
#define GANTRY_SHIM_SERVICE_METRICS_H_

#include "google/protobuf/any.pb.h"
#include "runtime/cgroup/stats.h"

namespace gantry::shim {

// io.containerd.cgroups.v2.Metrics when `stats.unified`, else io.containerd.cgroups.v1.Metrics.
void PackMetrics(const cgroup::Stats& stats, google::protobuf::Any* any);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_SERVICE_METRICS_H_
