#include "daemon/server/server.h"

#include <grpc/grpc.h>
#include <grpc/support/time.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>

#include <utility>

#include "daemon/server/bad_message.h"
#include "daemon/server/wire.h"

namespace gantry::server {
namespace {

// Go's servers take 16 MiB of headers, gRPC's C core 8 KiB: labels travel in messages, so this is plenty.
constexpr int kMaxMetadataBytes = 256 << 10;

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(std::unique_ptr<Listener> listener,
                                                      const ServerOptions& options,
                                                      const std::vector<grpc::Service*>& services) {
  // gRPC is kept alive for the rest of the process: its last shutdown joins a thread that may sleep in its poller for
  // up to ten seconds (seen with 1.51).
  static const bool kept = (grpc_init(), true);
  (void)kept;
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.max_receive_bytes));
  builder.SetMaxSendMessageSize(static_cast<int>(options.max_send_bytes));
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  // Clients ping idle connections as often as they like: this is a local socket.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 0);
  // No bandwidth estimates: their pings and wakeups gain nothing here.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  for (grpc::Service* service : services) builder.RegisterService(service);
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(MakeBadMessageInterceptor());
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  std::unique_ptr<grpc::Server> grpc = builder.BuildAndStart();
  if (grpc == nullptr) return absl::InternalError("gRPC's server did not start");
  std::unique_ptr<Server> server(new Server(std::move(grpc), std::move(listener)));
  absl::Status status = server->listener_->Start(
      [grpc = server->grpc_.get(), most = options.max_receive_bytes](sys::UniqueFd connection) {
        FilterConnection(connection.get(), static_cast<uint32_t>(most));
        grpc::AddInsecureChannelFromFd(grpc, connection.release());
      });
  if (!status.ok()) return status;
  return server;
}

Server::Server(std::unique_ptr<grpc::Server> grpc, std::unique_ptr<Listener> listener)
    : grpc_(std::move(grpc)), listener_(std::move(listener)) {}

Server::~Server() {
  StopAccepting();
  Shutdown(absl::ZeroDuration());
}

void Server::Shutdown(absl::Duration grace) {
  grpc_->Shutdown(gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                               gpr_time_from_millis(absl::ToInt64Milliseconds(grace), GPR_TIMESPAN)));
}

}  // namespace gantry::server
