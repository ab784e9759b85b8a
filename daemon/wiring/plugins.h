// The names by which containerd's clients know the daemon's parts.
#ifndef GANTRY_DAEMON_WIRING_PLUGINS_H_
#define GANTRY_DAEMON_WIRING_PLUGINS_H_

#include <string>

#include "absl/status/status.h"
#include "daemon/services/introspection_service.h"

namespace gantry::wiring {

inline constexpr char kContentPlugin[] = "io.containerd.content.v1";
inline constexpr char kDifferPlugin[] = "io.containerd.differ.v1";
inline constexpr char kEventPlugin[] = "io.containerd.event.v1";
inline constexpr char kGcPlugin[] = "io.containerd.gc.v1";
inline constexpr char kGrpcPlugin[] = "io.containerd.grpc.v1";
inline constexpr char kInternalPlugin[] = "io.containerd.internal.v1";
inline constexpr char kLeasePlugin[] = "io.containerd.lease.v1";
inline constexpr char kMetadataPlugin[] = "io.containerd.metadata.v1";
inline constexpr char kRuntimePlugin[] = "io.containerd.runtime.v2";
inline constexpr char kSandboxControllerPlugin[] = "io.containerd.sandbox.controller.v1";
inline constexpr char kSandboxStorePlugin[] = "io.containerd.sandbox.store.v1";
inline constexpr char kServicePlugin[] = "io.containerd.service.v1";
inline constexpr char kSnapshotterPlugin[] = "io.containerd.snapshotter.v1";
inline constexpr char kStreamingPlugin[] = "io.containerd.streaming.v1";

// A record of the plugin `type`.`id`.
services::PluginRecord Plugin(std::string type, std::string id, absl::Status status = absl::OkStatus());

// The two records that stand for one gRPC service: io.containerd.grpc.v1.<grpc_id>, and its inner half
// io.containerd.service.v1.<grpc_id>-service.
void AddServicePlugins(const std::string& grpc_id, std::vector<services::PluginRecord>* plugins);

}  // namespace gantry::wiring

#endif  // GANTRY_DAEMON_WIRING_PLUGINS_H_
