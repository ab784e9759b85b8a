// containerd.services.version.v1.Version. Thread-safe: immutable.
#ifndef GANTRY_DAEMON_SERVICES_VERSION_SERVICE_H_
#define GANTRY_DAEMON_SERVICES_VERSION_SERVICE_H_

#include <string>

#include "api/proto/containerd/services/version/v1/version.grpc.pb.h"

namespace gantry::services {

class VersionService final : public containerd::services::version::v1::Version::CallbackService {
 public:
  VersionService(std::string version, std::string revision);

  grpc::ServerUnaryReactor* Version(grpc::CallbackServerContext* context,
                                    const google::protobuf::Empty* request,
                                    containerd::services::version::v1::VersionResponse* response) override;

 private:
  const std::string version_;
  const std::string revision_;
};

}  // namespace gantry::services

#endif  // GANTRY_DAEMON_SERVICES_VERSION_SERVICE_H_
