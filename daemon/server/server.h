// The daemon's gRPC server on a unix socket.
//
// Connections are accepted on the event loop and handed to gRPC, rather than by gRPC's own listener: the socket is
// made with its final mode and owner, a daemon that runs out of descriptors pauses and goes on, and a socket handed
// over by systemd is served alike. Calls run on gRPC's few threads and, as service.h says, on worker pools.
//
//   ASSIGN_OR_RETURN(auto server, Server::Start(std::move(listener), options, {&version, &tasks}));
//   ... loop->Run() ...
//   server->Shutdown(absl::Seconds(2));
//
// Start and the destructor: on the loop's thread. The services must outlive the server.
#ifndef GANTRY_DAEMON_SERVER_SERVER_H_
#define GANTRY_DAEMON_SERVER_SERVER_H_

#include <grpcpp/impl/service_type.h>
#include <grpcpp/server.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/server/listener.h"
#include "runtime/sys/event_loop.h"

namespace gantry::server {

struct ServerOptions {
  int64_t max_receive_bytes = 16 << 20;
  int64_t max_send_bytes = 16 << 20;
};

class Server {
 public:
  // Serves `services`, and the health service, on the connections of `listener`. From here on clients are answered.
  static absl::StatusOr<std::unique_ptr<Server>> Start(std::unique_ptr<Listener> listener,
                                                       const ServerOptions& options,
                                                       const std::vector<grpc::Service*>& services);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Takes no new connections. On the loop's thread.
  void StopAccepting() { listener_.reset(); }

  // Ends all calls: those that are running get `grace` to finish, then they are cancelled. Blocks meanwhile, so not
  // on the loop's thread while calls need the loop. Call StopAccepting first.
  void Shutdown(absl::Duration grace);

 private:
  Server(std::unique_ptr<grpc::Server> grpc, std::unique_ptr<Listener> listener);

  const std::unique_ptr<grpc::Server> grpc_;
  std::unique_ptr<Listener> listener_;
};

}  // namespace gantry::server

#endif  // GANTRY_DAEMON_SERVER_SERVER_H_
