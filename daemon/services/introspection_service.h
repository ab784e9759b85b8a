// containerd.services.introspection.v1.Introspection: what the daemon is made of.
//
// Thread-safe: what it tells is fixed when the daemon starts.
#ifndef GANTRY_DAEMON_SERVICES_INTROSPECTION_SERVICE_H_
#define GANTRY_DAEMON_SERVICES_INTROSPECTION_SERVICE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "api/proto/containerd/services/introspection/v1/introspection.grpc.pb.h"
#include "daemon/server/worker_pool.h"

namespace gantry::services {

// One part of the daemon under the name that containerd's clients know it by.
struct PluginRecord {
  std::string type;  // "io.containerd.snapshotter.v1"
  std::string id;    // "overlayfs"
  std::vector<std::string> requires_types;
  bool platform_bound = false;  // tells linux/<architecture>
  std::map<std::string, std::string> exports;
  std::vector<std::string> capabilities;
  absl::Status status;  // why it cannot be used, or OK
  // Answers PluginInfo with options, on a worker; empty: the plugin tells nothing more.
  std::function<absl::StatusOr<google::protobuf::Any>(const google::protobuf::Any& options)> info;
};

class IntrospectionService final
    : public containerd::services::introspection::v1::Introspection::CallbackService {
 public:
  // `uuid` names this root, for as long as it exists. `pool` serves PluginInfo.
  IntrospectionService(std::vector<PluginRecord> plugins, std::string uuid, server::WorkerPool* pool);

  grpc::ServerUnaryReactor* Plugins(
      grpc::CallbackServerContext* context,
      const containerd::services::introspection::v1::PluginsRequest* request,
      containerd::services::introspection::v1::PluginsResponse* response) override;
  grpc::ServerUnaryReactor* Server(
      grpc::CallbackServerContext* context, const google::protobuf::Empty* request,
      containerd::services::introspection::v1::ServerResponse* response) override;
  grpc::ServerUnaryReactor* PluginInfo(
      grpc::CallbackServerContext* context,
      const containerd::services::introspection::v1::PluginInfoRequest* request,
      containerd::services::introspection::v1::PluginInfoResponse* response) override;

 private:
  absl::Status ListPlugins(const containerd::services::introspection::v1::PluginsRequest& request,
                           containerd::services::introspection::v1::PluginsResponse* response) const;
  absl::Status Inform(const containerd::services::introspection::v1::PluginInfoRequest& request,
                      containerd::services::introspection::v1::PluginInfoResponse* response) const;

  const std::vector<PluginRecord> plugins_;
  const std::string uuid_;
  const uint64_t pid_namespace_;
  server::WorkerPool* const pool_;
};

}  // namespace gantry::services

#endif  // GANTRY_DAEMON_SERVICES_INTROSPECTION_SERVICE_H_
