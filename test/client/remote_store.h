// content::Store over a daemon's Content service: so the store's conformance suite runs over gRPC too, and what kills
// and cuts off daemons writes and reads as any client does.
//
// What the interface promises beyond the service: a blob stays readable for who has opened it, by a stream that is kept
// open. Thread-safe as the interface says.
#ifndef GANTRY_TEST_CLIENT_REMOTE_STORE_H_
#define GANTRY_TEST_CLIENT_REMOTE_STORE_H_

#include <grpcpp/channel.h>

#include <map>
#include <memory>
#include <string>

#include "content/store.h"

namespace gantry::client {

struct RemoteStoreOptions {
  std::shared_ptr<grpc::Channel> channel;
  std::string ns;
  std::string lease = {};                          // what is written is tied to it; empty: to none
  std::map<std::string, std::string> labels = {};  // of every blob that is committed
};

std::unique_ptr<content::Store> OpenRemoteStore(RemoteStoreOptions options);

}  // namespace gantry::client

#endif  // GANTRY_TEST_CLIENT_REMOTE_STORE_H_
