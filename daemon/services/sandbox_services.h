// containerd.services.sandbox.v1: Store (records) and Controller (what runs). Thread-safe.
#ifndef GANTRY_DAEMON_SERVICES_SANDBOX_SERVICES_H_
#define GANTRY_DAEMON_SERVICES_SANDBOX_SERVICES_H_

#include "api/proto/containerd/services/sandbox/v1/sandbox.grpc.pb.h"
#include "daemon/events/exchange.h"
#include "daemon/metadata/sandboxes.h"
#include "daemon/sandbox/controller.h"
#include "daemon/server/worker_pool.h"
#include "runtime/sys/event_loop.h"

namespace gantry::services {

#define GANTRY_SANDBOX_METHOD(name, Request, Response)                                      \
  grpc::ServerUnaryReactor* name(grpc::CallbackServerContext* context,                      \
                                 const containerd::services::sandbox::v1::Request* request, \
                                 containerd::services::sandbox::v1::Response* response) override

class SandboxStoreService final : public containerd::services::sandbox::v1::Store::CallbackService {
 public:
  // All stay the caller's.
  SandboxStoreService(metadata::Sandboxes* sandboxes, server::WorkerPool* pool)
      : sandboxes_(*sandboxes), pool_(pool) {}

  GANTRY_SANDBOX_METHOD(Create, StoreCreateRequest, StoreCreateResponse);
  GANTRY_SANDBOX_METHOD(Update, StoreUpdateRequest, StoreUpdateResponse);
  GANTRY_SANDBOX_METHOD(Delete, StoreDeleteRequest, StoreDeleteResponse);
  GANTRY_SANDBOX_METHOD(List, StoreListRequest, StoreListResponse);
  GANTRY_SANDBOX_METHOD(Get, StoreGetRequest, StoreGetResponse);

 private:
  metadata::Sandboxes& sandboxes_;
  server::WorkerPool* const pool_;
};

// There is one controller, `shim`; each request names the one that it wants. No call holds a thread.
class SandboxControllerService final : public containerd::services::sandbox::v1::Controller::CallbackService {
 public:
  // `loop` is the controller's. All outlive the service.
  SandboxControllerService(sandbox::Controller* controller, sys::EventLoop* loop,
                           events::Publisher* publisher)
      : controller_(controller), loop_(loop), publisher_(publisher) {}

  GANTRY_SANDBOX_METHOD(Create, ControllerCreateRequest, ControllerCreateResponse);
  GANTRY_SANDBOX_METHOD(Start, ControllerStartRequest, ControllerStartResponse);
  GANTRY_SANDBOX_METHOD(Platform, ControllerPlatformRequest, ControllerPlatformResponse);
  GANTRY_SANDBOX_METHOD(Stop, ControllerStopRequest, ControllerStopResponse);
  GANTRY_SANDBOX_METHOD(Wait, ControllerWaitRequest, ControllerWaitResponse);
  GANTRY_SANDBOX_METHOD(Status, ControllerStatusRequest, ControllerStatusResponse);
  GANTRY_SANDBOX_METHOD(Shutdown, ControllerShutdownRequest, ControllerShutdownResponse);
  GANTRY_SANDBOX_METHOD(Metrics, ControllerMetricsRequest, ControllerMetricsResponse);
  GANTRY_SANDBOX_METHOD(Update, ControllerUpdateRequest, ControllerUpdateResponse);

 private:
  sandbox::Controller* const controller_;
  sys::EventLoop* const loop_;
  events::Publisher* const publisher_;
};

#undef GANTRY_SANDBOX_METHOD

}  // namespace gantry::services

#endif  // GANTRY_DAEMON_SERVICES_SANDBOX_SERVICES_H_
