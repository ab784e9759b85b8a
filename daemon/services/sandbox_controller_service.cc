#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "api/proto/containerd/events/sandbox.pb.h"
#include "daemon/server/service.h"
#include "daemon/services/common.h"
#include "daemon/services/sandbox_services.h"
#include "runtime/sys/clock.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::sandbox::v1;
namespace shim = containerd::runtime::sandbox::v1;
using server::CallContext;
using server::NamespaceRule;
using server::Reply;
using tasks::TaskKey;

// For a call that may take as long as it takes: the client has its own deadline.
constexpr absl::Duration kNoLimit = absl::InfiniteDuration();

absl::Status CheckController(const std::string& name) {
  if (name.empty()) return absl::InvalidArgumentError("sandbox controller name can not be empty");
  if (name == sandbox::kControllerName) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat("failed to get sandbox controller by ", name,
                                          ": this daemon has \"", sandbox::kControllerName, "\""));
}

template <typename Message>
absl::StatusOr<Message> Parse(const absl::StatusOr<std::string>& answer) {
  if (!answer.ok()) return answer.status();
  Message message;
  if (!message.ParseFromString(*answer)) return absl::InternalError("the shim's answer is damaged");
  return message;
}

// Runs `work`, a void(sandbox's key, Reply), on the loop, if the request names our controller.
template <typename Request, typename Response, typename Work>
grpc::ServerUnaryReactor* OnLoop(sys::EventLoop* loop, grpc::CallbackServerContext* context,
                                 const Request* request, Response* response, Work work) {
  return server::RunAsync(
      context, NamespaceRule::kRequired, request, response,
      [&](const CallContext& call, const Request& request, Reply<Response> reply) {
        if (absl::Status known = CheckController(request.sandboxer()); !known.ok()) return reply(known);
        loop->Post([key = TaskKey{call.ns, request.sandbox_id()}, reply = std::move(reply),
                    work = std::move(work)]() mutable { work(key, std::move(reply)); });
      });
}

// "ttrpc+unix:///path", as containerd tells addresses to its clients.
std::string AddressOf(const tasks::Bootstrap& bootstrap) {
  return absl::StrCat(bootstrap.protocol, "+", bootstrap.address);
}

google::protobuf::Timestamp Now() { return metadata::ToProto(sys::WallNow()); }

}  // namespace

grpc::ServerUnaryReactor* SandboxControllerService::Create(grpc::CallbackServerContext* context,
                                                           const api::ControllerCreateRequest* request,
                                                           api::ControllerCreateResponse* response) {
  sandbox::NewSandbox what;
  what.runtime = request->sandbox().runtime().name();
  what.runtime_options = request->sandbox().runtime().options();
  what.spec = request->sandbox().spec().value();
  *what.request.mutable_rootfs() = request->rootfs();
  if (request->has_options()) *what.request.mutable_options() = request->options();
  what.request.set_netns_path(request->netns_path());
  *what.request.mutable_annotations() = request->annotations();
  const absl::Status valid = server::ValidateIdentifier("sandbox id", request->sandbox_id());
  return OnLoop(
      loop_, context, request, response,
      [this, valid, what = std::move(what)](const TaskKey& key, Reply<api::ControllerCreateResponse> reply) {
        if (!valid.ok()) return reply(valid);
        controller_->CreateSandbox(
            key, what, [publisher = publisher_, key, reply = std::move(reply)](const absl::Status& status) {
              if (!status.ok()) return reply(status);
              containerd::events::SandboxCreate event;
              event.set_sandbox_id(key.id);
              PublishChange(*publisher, key.ns, "/sandboxes/create", event);
              api::ControllerCreateResponse out;
              out.set_sandbox_id(key.id);
              reply(std::move(out));
            });
      });
}

grpc::ServerUnaryReactor* SandboxControllerService::Start(grpc::CallbackServerContext* context,
                                                          const api::ControllerStartRequest* request,
                                                          api::ControllerStartResponse* response) {
  return OnLoop(loop_, context, request, response,
                [this](const TaskKey& key, Reply<api::ControllerStartResponse> reply) {
                  controller_->Start(key, [controller = controller_, key, reply = std::move(reply)](
                                              const absl::StatusOr<shim::StartSandboxResponse>& started) {
                    if (!started.ok()) return reply(started.status());
                    api::ControllerStartResponse out;
                    out.set_sandbox_id(key.id);
                    out.set_pid(started->pid());
                    *out.mutable_created_at() = started->created_at();
                    if (started->has_spec()) *out.mutable_spec() = started->spec();
                    if (const auto endpoint = controller->Endpoint(key); endpoint.ok()) {
                      out.set_address(AddressOf(*endpoint));
                      out.set_version(static_cast<uint32_t>(endpoint->version));
                    }
                    reply(std::move(out));
                  });
                });
}

grpc::ServerUnaryReactor* SandboxControllerService::Platform(grpc::CallbackServerContext* context,
                                                             const api::ControllerPlatformRequest* request,
                                                             api::ControllerPlatformResponse* response) {
  return OnLoop(loop_, context, request, response,
                [this](const TaskKey& key, Reply<api::ControllerPlatformResponse> reply) {
                  shim::PlatformRequest ask;
                  ask.set_sandbox_id(key.id);
                  controller_->Call(key, "Platform", ask.SerializeAsString(), kNoLimit,
                                    [reply = std::move(reply)](const absl::StatusOr<std::string>& answer) {
                                      const auto platform = Parse<shim::PlatformResponse>(answer);
                                      if (!platform.ok()) return reply(platform.status());
                                      api::ControllerPlatformResponse out;
                                      *out.mutable_platform() = platform->platform();
                                      reply(std::move(out));
                                    });
                });
}

grpc::ServerUnaryReactor* SandboxControllerService::Stop(grpc::CallbackServerContext* context,
                                                         const api::ControllerStopRequest* request,
                                                         api::ControllerStopResponse* response) {
  return OnLoop(loop_, context, request, response,
                [this, timeout = request->timeout_secs()](const TaskKey& key,
                                                          Reply<api::ControllerStopResponse> reply) {
                  shim::StopSandboxRequest stop;
                  stop.set_sandbox_id(key.id);
                  stop.set_timeout_secs(timeout);
                  controller_->Call(key, "StopSandbox", stop.SerializeAsString(), kNoLimit,
                                    [reply = std::move(reply)](const absl::StatusOr<std::string>& answer) {
                                      // One that does not run is stopped.
                                      if (!answer.ok() && !absl::IsNotFound(answer.status())) {
                                        return reply(answer.status());
                                      }
                                      reply(api::ControllerStopResponse());
                                    });
                });
}

grpc::ServerUnaryReactor* SandboxControllerService::Wait(grpc::CallbackServerContext* context,
                                                         const api::ControllerWaitRequest* request,
                                                         api::ControllerWaitResponse* response) {
  return OnLoop(loop_, context, request, response,
                [this](const TaskKey& key, const Reply<api::ControllerWaitResponse>& reply) {
                  const uint64_t waiter =
                      controller_->Wait(key, [reply](const absl::StatusOr<shim::WaitSandboxResponse>& ended) {
                        if (!ended.ok()) return reply(ended.status());
                        api::ControllerWaitResponse out;
                        out.set_exit_status(ended->exit_status());
                        *out.mutable_exited_at() = ended->exited_at();
                        reply(std::move(out));
                      });
                  reply.OnCancel([controller = controller_, loop = loop_, key, waiter] {
                    loop->Post([controller, key, waiter] { controller->CancelWait(key, waiter); });
                  });
                });
}

grpc::ServerUnaryReactor* SandboxControllerService::Status(grpc::CallbackServerContext* context,
                                                           const api::ControllerStatusRequest* request,
                                                           api::ControllerStatusResponse* response) {
  return OnLoop(
      loop_, context, request, response,
      [this, verbose = request->verbose()](const TaskKey& key, Reply<api::ControllerStatusResponse> reply) {
        shim::SandboxStatusRequest ask;
        ask.set_sandbox_id(key.id);
        ask.set_verbose(verbose);
        auto translate = [controller = controller_, key,
                          reply = std::move(reply)](const absl::StatusOr<std::string>& answer) {
          api::ControllerStatusResponse out;
          out.set_sandbox_id(key.id);
          out.mutable_extra();
          if (absl::IsNotFound(answer.status())) {
            // As containerd does: one that does not run has ended.
            out.set_state("SANDBOX_NOTREADY");
            *out.mutable_exited_at() = Now();
            return reply(std::move(out));
          }
          auto status = Parse<shim::SandboxStatusResponse>(answer);
          if (!status.ok()) return reply(status.status());
          out.set_pid(status->pid());
          out.set_state(status->state());
          out.mutable_info()->swap(*status->mutable_info());
          *out.mutable_created_at() = status->created_at();
          if (status->has_exited_at()) *out.mutable_exited_at() = status->exited_at();
          if (status->has_extra()) *out.mutable_extra() = status->extra();
          if (const auto endpoint = controller->Endpoint(key); endpoint.ok()) {
            out.set_address(AddressOf(*endpoint));
            out.set_version(static_cast<uint32_t>(endpoint->version));
          }
          reply(std::move(out));
        };
        controller_->Call(key, "SandboxStatus", ask.SerializeAsString(), controller_->timeouts().task_state,
                          std::move(translate));
      });
}

grpc::ServerUnaryReactor* SandboxControllerService::Shutdown(grpc::CallbackServerContext* context,
                                                             const api::ControllerShutdownRequest* request,
                                                             api::ControllerShutdownResponse* response) {
  return OnLoop(loop_, context, request, response,
                [this](const TaskKey& key, Reply<api::ControllerShutdownResponse> reply) {
                  controller_->Shutdown(key, [reply = std::move(reply)](const absl::Status& status) {
                    if (!status.ok()) return reply(status);
                    reply(api::ControllerShutdownResponse());
                  });
                });
}

grpc::ServerUnaryReactor* SandboxControllerService::Metrics(grpc::CallbackServerContext* context,
                                                            const api::ControllerMetricsRequest* request,
                                                            api::ControllerMetricsResponse* response) {
  return OnLoop(loop_, context, request, response,
                [this](const TaskKey& key, Reply<api::ControllerMetricsResponse> reply) {
                  shim::SandboxMetricsRequest ask;
                  ask.set_sandbox_id(key.id);
                  controller_->Call(key, "SandboxMetrics", ask.SerializeAsString(),
                                    controller_->timeouts().task_state,
                                    [reply = std::move(reply)](const absl::StatusOr<std::string>& answer) {
                                      auto metrics = Parse<shim::SandboxMetricsResponse>(answer);
                                      if (!metrics.ok()) return reply(metrics.status());
                                      api::ControllerMetricsResponse out;
                                      out.mutable_metrics()->Swap(metrics->mutable_metrics());
                                      reply(std::move(out));
                                    });
                });
}

// A shim has no call for it: what changes is the record's, which the client updates in the store.
grpc::ServerUnaryReactor* SandboxControllerService::Update(grpc::CallbackServerContext* context,
                                                           const api::ControllerUpdateRequest* request,
                                                           api::ControllerUpdateResponse* response) {
  return OnLoop(loop_, context, request, response,
                [has_sandbox = request->has_sandbox()](const TaskKey&,
                                                       const Reply<api::ControllerUpdateResponse>& reply) {
                  if (!has_sandbox) return reply(absl::InvalidArgumentError("sandbox can not be nil"));
                  reply(api::ControllerUpdateResponse());
                });
}

}  // namespace gantry::services
