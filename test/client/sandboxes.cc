// Sandboxes, and containers in them.
#include "api/proto/containerd/services/sandbox/v1/sandbox.grpc.pb.h"
#include "test/client/client.h"

namespace gantry::client {
namespace {

namespace api = ::containerd::services::sandbox::v1;

constexpr char kController[] = "shim";
constexpr char kSpecType[] = "types.containerd.io/opencontainers/runtime-spec/1/Spec";

}  // namespace

grpc::Status Client::CreateSandbox(const std::string& id) {
  api::StoreCreateRequest record;
  record.mutable_sandbox()->set_sandbox_id(id);
  record.mutable_sandbox()->set_sandboxer(kController);
  record.mutable_sandbox()->mutable_runtime()->set_name(options_.runtime);
  record.mutable_sandbox()->mutable_spec()->set_type_url(kSpecType);
  record.mutable_sandbox()->mutable_spec()->set_value("{}");
  api::StoreCreateResponse recorded;
  grpc::Status status = Call(&Connection::sandboxes, &api::Store::Stub::Create, record, &recorded);
  if (!status.ok()) return status;
  api::ControllerCreateRequest request;
  request.set_sandbox_id(id);
  request.set_sandboxer(kController);
  *request.mutable_sandbox() = recorded.sandbox();
  api::ControllerCreateResponse response;
  return Call(&Connection::controller, &api::Controller::Stub::Create, request, &response);
}

grpc::Status Client::StartSandbox(const std::string& id, uint32_t* pid) {
  api::ControllerStartRequest request;
  request.set_sandbox_id(id);
  request.set_sandboxer(kController);
  api::ControllerStartResponse response;
  const grpc::Status status =
      Call(&Connection::controller, &api::Controller::Stub::Start, request, &response);
  *pid = response.pid();
  return status;
}

grpc::Status Client::StopSandbox(const std::string& id) {
  api::ControllerStopRequest request;
  request.set_sandbox_id(id);
  request.set_sandboxer(kController);
  api::ControllerStopResponse response;
  return Call(&Connection::controller, &api::Controller::Stub::Stop, request, &response);
}

grpc::Status Client::ShutdownSandbox(const std::string& id) {
  api::ControllerShutdownRequest request;
  request.set_sandbox_id(id);
  request.set_sandboxer(kController);
  api::ControllerShutdownResponse response;
  return Call(&Connection::controller, &api::Controller::Stub::Shutdown, request, &response);
}

grpc::Status Client::DeleteSandbox(const std::string& id) {
  api::StoreDeleteRequest request;
  request.set_sandbox_id(id);
  api::StoreDeleteResponse response;
  return Call(&Connection::sandboxes, &api::Store::Stub::Delete, request, &response);
}

grpc::Status Client::SandboxState(const std::string& id, std::string* state, uint32_t* pid) {
  api::ControllerStatusRequest request;
  request.set_sandbox_id(id);
  request.set_sandboxer(kController);
  api::ControllerStatusResponse response;
  const grpc::Status status =
      Call(&Connection::controller, &api::Controller::Stub::Status, request, &response);
  *state = response.state();
  *pid = response.pid();
  return status;
}

grpc::Status Client::WaitSandbox(const std::string& id, uint32_t* exit_status) {
  api::ControllerWaitRequest request;
  request.set_sandbox_id(id);
  request.set_sandboxer(kController);
  api::ControllerWaitResponse response;
  const grpc::Status status = Call(&Connection::controller, &api::Controller::Stub::Wait, request, &response);
  *exit_status = response.exit_status();
  return status;
}

grpc::Status Client::Sandboxes(std::vector<std::string>* ids) {
  api::StoreListResponse response;
  const grpc::Status status =
      Call(&Connection::sandboxes, &api::Store::Stub::List, api::StoreListRequest(), &response);
  for (const auto& sandbox : response.list()) ids->push_back(sandbox.sandbox_id());
  return status;
}

}  // namespace gantry::client
