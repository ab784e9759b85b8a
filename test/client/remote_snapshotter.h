// snapshotter::Snapshotter over a daemon's Snapshots service: so the conformance suite runs over gRPC too. Companions
// have no place on the wire: a call with one is UNIMPLEMENTED. Thread-safe.
#ifndef GANTRY_TEST_CLIENT_REMOTE_SNAPSHOTTER_H_
#define GANTRY_TEST_CLIENT_REMOTE_SNAPSHOTTER_H_

#include <grpcpp/channel.h>

#include <memory>
#include <string>

#include "snapshotter/snapshotter.h"

namespace gantry::client {

struct RemoteSnapshotterOptions {
  std::shared_ptr<grpc::Channel> channel;
  std::string ns;
  std::string name;  // "overlayfs"
};

std::unique_ptr<snapshotter::Snapshotter> OpenRemoteSnapshotter(RemoteSnapshotterOptions options);

}  // namespace gantry::client

#endif  // GANTRY_TEST_CLIENT_REMOTE_SNAPSHOTTER_H_
