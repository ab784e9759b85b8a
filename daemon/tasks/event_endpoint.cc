#include "daemon/tasks/event_endpoint.h"

#include <unistd.h>

#include <utility>

#include "api/proto/containerd/services/ttrpc/events/v1/events.pb.h"
#include "runtime/sys/status.h"

namespace gantry::tasks {

EventEndpoint::EventEndpoint(sys::EventLoop* loop, std::string path, OnEvent on_event)
    : path_(std::move(path)), on_event_(std::move(on_event)), server_(loop) {
  server_.Register("containerd.services.events.ttrpc.v1.Events", "Forward",
                   [this](const ttrpc::CallInfo&, std::string payload, ttrpc::Responder respond) {
                     containerd::services::events::ttrpc::v1::ForwardRequest request;
                     if (!request.ParseFromString(payload)) {
                       respond(absl::InvalidArgumentError("the request is no valid ForwardRequest"));
                       return;
                     }
                     const absl::Status status = on_event_(std::move(*request.mutable_envelope()));
                     if (status.ok()) {
                       respond(std::string());  // google.protobuf.Empty
                     } else {
                       respond(status);
                     }
                   });
}

absl::StatusOr<std::unique_ptr<EventEndpoint>> EventEndpoint::Start(sys::EventLoop* loop,
                                                                    sys::UniqueFd socket, std::string path,
                                                                    OnEvent on_event) {
  std::unique_ptr<EventEndpoint> endpoint(new EventEndpoint(loop, std::move(path), std::move(on_event)));
  GANTRY_RETURN_IF_ERROR(endpoint->server_.Serve(std::move(socket), ttrpc::RequireOwnerOrRoot()));
  return endpoint;
}

EventEndpoint::~EventEndpoint() { unlink(path_.c_str()); }

}  // namespace gantry::tasks
