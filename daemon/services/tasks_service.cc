#include "daemon/services/tasks_service.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "api/any/any.h"
#include "api/proto/containerd/types/runc/options/oci.pb.h"
#include "daemon/filters/filter.h"
#include "daemon/server/service.h"
#include "daemon/services/common.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry::services {
namespace {

namespace api = containerd::services::tasks::v1;
namespace shim = containerd::task::v3;
using containerd::v1::types::Process;
using google::protobuf::Empty;
using server::CallContext;
using server::NamespaceRule;
using server::Reply;
using tasks::TaskKey;

// For a call that may take as long as it takes: the client has its own deadline.
constexpr absl::Duration kNoLimit = absl::InfiniteDuration();

template <typename Message>
absl::StatusOr<Message> Parse(const absl::StatusOr<std::string>& answer) {
  if (!answer.ok()) return answer.status();
  Message message;
  if (!message.ParseFromString(*answer)) return absl::InternalError("the shim's answer is damaged");
  return message;
}

Process ToProcess(const shim::StateResponse& state) {
  Process process;
  process.set_id(state.exec_id().empty() ? state.id() : state.exec_id());
  process.set_pid(state.pid());
  process.set_status(state.status());
  process.set_stdin(state.stdin());
  process.set_stdout(state.stdout());
  process.set_stderr(state.stderr());
  process.set_terminal(state.terminal());
  process.set_exit_status(state.exit_status());
  if (state.has_exited_at()) *process.mutable_exited_at() = state.exited_at();
  return process;
}

absl::Status CheckId(absl::string_view what, absl::string_view id) {
  return server::ValidateIdentifier(what, id);
}

// Hands one call to the shim: `ShimRequest` is made from the request here and now, `translate` makes the response of
// the shim's.
template <typename ShimResponse, typename Request, typename Response, typename Translate>
grpc::ServerUnaryReactor* PassOn(tasks::Manager* manager, sys::EventLoop* loop,
                                 grpc::CallbackServerContext* context, const Request* request,
                                 Response* response, const char* method, std::string payload,
                                 absl::Duration timeout, Translate translate) {
  return server::RunAsync(context, NamespaceRule::kRequired, request, response,
                          [&](const CallContext& call, const Request& request, Reply<Response> reply) {
                            loop->Post([manager, key = TaskKey{call.ns, request.container_id()}, method,
                                        payload = std::move(payload), timeout, reply = std::move(reply),
                                        translate = std::move(translate)]() mutable {
                              manager->Call(key, method, std::move(payload), timeout,
                                            [reply = std::move(reply), translate = std::move(translate)](
                                                absl::StatusOr<std::string> answer) {
                                              absl::StatusOr<ShimResponse> message =
                                                  Parse<ShimResponse>(answer);
                                              if (message.ok()) {
                                                reply(translate(*std::move(message)));
                                              } else {
                                                reply(message.status());
                                              }
                                            });
                            });
                          });
}

Empty ToEmpty(Empty empty) { return empty; }

// Answers of several tasks, gathered until the last has come.
template <typename Response>
struct Gathering {
  explicit Gathering(Reply<Response> r) : reply(std::move(r)) {}
  ~Gathering() { reply(std::move(response)); }
  Reply<Response> reply;
  Response response;
};

shim::CreateTaskRequest ToCreate(const api::CreateTaskRequest& request) {
  shim::CreateTaskRequest out;
  *out.mutable_rootfs() = request.rootfs();
  out.set_terminal(request.terminal());
  out.set_stdin(request.stdin());
  out.set_stdout(request.stdout());
  out.set_stderr(request.stderr());
  if (!request.has_options() || request.options().type_url().empty()) return out;
  *out.mutable_options() = request.options();
  // criu's files are in a directory of the client's.
  const auto options = any::Unpack<containerd::runc::v1::Options>(request.options());
  if (options.ok()) out.set_checkpoint(options->criu_image_path());
  return out;
}

// The directory into which the client wants criu's files; empty: into the content store.
std::string ImagePathOf(const api::CheckpointTaskRequest& request) {
  const auto options = any::Unpack<containerd::runc::v1::CheckpointOptions>(request.options());
  return options.ok() ? options->image_path() : "";
}

}  // namespace

grpc::ServerUnaryReactor* TasksService::Create(grpc::CallbackServerContext* context,
                                               const api::CreateTaskRequest* request,
                                               api::CreateTaskResponse* response) {
  return server::RunAsync(
      context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const api::CreateTaskRequest& request,
             Reply<api::CreateTaskResponse> reply) {
        absl::Status status = CheckId("container id", request.container_id());
        if (!status.ok()) return reply(status);
        const TaskKey key{call.ns, request.container_id()};
        auto ticket = std::make_shared<std::shared_ptr<tasks::Manager::Ticket>>();
        reply.OnCancel([this, key, ticket] {
          loop_->Post([this, key, ticket] {
            if (*ticket != nullptr) manager_->Abandon(key, *ticket);
          });
        });
        tasks::NewTask task{request.runtime_path(),
                            ToCreate(request),
                            {},
                            request.task_api_address(),
                            request.task_api_version()};
        if (request.has_checkpoint() && task.request.checkpoint().empty()) {
          task.unpack_checkpoint = [this, scope = ScopeOf(call),
                                    checkpoint = request.checkpoint()](const std::string& directory) {
            return checkpoints_->Unpack(scope, checkpoint, directory);
          };
        }
        loop_->Post([this, key, ticket, task = std::move(task), reply = std::move(reply)]() mutable {
          *ticket = manager_->CreateTask(
              key, std::move(task), [id = key.id, reply = std::move(reply)](absl::StatusOr<uint32_t> pid) {
                if (!pid.ok()) return reply(pid.status());
                api::CreateTaskResponse response;
                response.set_container_id(id);
                response.set_pid(*pid);
                reply(std::move(response));
              });
        });
      });
}

grpc::ServerUnaryReactor* TasksService::Start(grpc::CallbackServerContext* context,
                                              const api::StartRequest* request,
                                              api::StartResponse* response) {
  shim::StartRequest start;
  start.set_id(request->container_id());
  start.set_exec_id(request->exec_id());
  return PassOn<shim::StartResponse>(manager_, loop_, context, request, response, "Start",
                                     start.SerializeAsString(), kNoLimit,
                                     [](const shim::StartResponse& started) {
                                       api::StartResponse out;
                                       out.set_pid(started.pid());
                                       return out;
                                     });
}

grpc::ServerUnaryReactor* TasksService::Delete(grpc::CallbackServerContext* context,
                                               const api::DeleteTaskRequest* request,
                                               api::DeleteResponse* response) {
  return server::RunAsync(
      context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const api::DeleteTaskRequest& request,
             Reply<api::DeleteResponse> reply) {
        loop_->Post(
            [this, key = TaskKey{call.ns, request.container_id()}, reply = std::move(reply)]() mutable {
              manager_->Delete(key, [reply = std::move(reply)](absl::StatusOr<shim::DeleteResponse> deleted) {
                if (!deleted.ok()) return reply(deleted.status());
                api::DeleteResponse out;
                out.set_pid(deleted->pid());
                out.set_exit_status(deleted->exit_status());
                *out.mutable_exited_at() = deleted->exited_at();
                reply(std::move(out));
              });
            });
      });
}

grpc::ServerUnaryReactor* TasksService::DeleteProcess(grpc::CallbackServerContext* context,
                                                      const api::DeleteProcessRequest* request,
                                                      api::DeleteResponse* response) {
  if (absl::Status status = CheckId("exec id", request->exec_id()); !status.ok()) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(server::ToGrpcStatus(status));
    return reactor;
  }
  shim::DeleteRequest remove;
  remove.set_id(request->container_id());
  remove.set_exec_id(request->exec_id());
  return PassOn<shim::DeleteResponse>(manager_, loop_, context, request, response, "Delete",
                                      remove.SerializeAsString(), kNoLimit,
                                      [exec_id = request->exec_id()](const shim::DeleteResponse& deleted) {
                                        api::DeleteResponse out;
                                        out.set_id(exec_id);
                                        out.set_pid(deleted.pid());
                                        out.set_exit_status(deleted.exit_status());
                                        *out.mutable_exited_at() = deleted.exited_at();
                                        return out;
                                      });
}

grpc::ServerUnaryReactor* TasksService::Get(grpc::CallbackServerContext* context,
                                            const api::GetRequest* request, api::GetResponse* response) {
  shim::StateRequest state;
  state.set_id(request->container_id());
  state.set_exec_id(request->exec_id());
  return PassOn<shim::StateResponse>(manager_, loop_, context, request, response, "State",
                                     state.SerializeAsString(), manager_->timeouts().task_state,
                                     [](const shim::StateResponse& state) {
                                       api::GetResponse out;
                                       *out.mutable_process() = ToProcess(state);
                                       return out;
                                     });
}

grpc::ServerUnaryReactor* TasksService::List(grpc::CallbackServerContext* context,
                                             const api::ListTasksRequest* request,
                                             api::ListTasksResponse* response) {
  return server::RunAsync(
      context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const api::ListTasksRequest&, Reply<api::ListTasksResponse> reply) {
        loop_->Post([this, ns = call.ns, reply = std::move(reply)]() mutable {
          auto gathering = std::make_shared<Gathering<api::ListTasksResponse>>(std::move(reply));
          for (const TaskKey& key : manager_->List(ns)) {
            shim::StateRequest request;
            request.set_id(key.id);
            manager_->Call(key, "State", request.SerializeAsString(), manager_->timeouts().task_state,
                           [key, gathering](const absl::StatusOr<std::string>& answer) {
                             const auto state = Parse<shim::StateResponse>(answer);
                             if (state.ok()) {
                               *gathering->response.add_tasks() = ToProcess(*state);
                             } else if (!absl::IsNotFound(state.status())) {
                               log::Warn("a shim does not tell its state",
                                         {{"id", key.id}, {"error", state.status().ToString()}});
                               gathering->response.add_tasks()->set_id(key.id);  // status UNKNOWN
                             }
                           });
          }
        });
      });
}

grpc::ServerUnaryReactor* TasksService::Kill(grpc::CallbackServerContext* context,
                                             const api::KillRequest* request, Empty* response) {
  shim::KillRequest kill;
  kill.set_id(request->container_id());
  kill.set_exec_id(request->exec_id());
  kill.set_signal(request->signal());
  kill.set_all(request->all());
  return PassOn<Empty>(manager_, loop_, context, request, response, "Kill", kill.SerializeAsString(),
                       kNoLimit, ToEmpty);
}

grpc::ServerUnaryReactor* TasksService::Exec(grpc::CallbackServerContext* context,
                                             const api::ExecProcessRequest* request, Empty* response) {
  if (absl::Status status = CheckId("exec id", request->exec_id()); !status.ok()) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(server::ToGrpcStatus(status));
    return reactor;
  }
  shim::ExecProcessRequest exec;
  exec.set_id(request->container_id());
  exec.set_exec_id(request->exec_id());
  exec.set_terminal(request->terminal());
  exec.set_stdin(request->stdin());
  exec.set_stdout(request->stdout());
  exec.set_stderr(request->stderr());
  *exec.mutable_spec() = request->spec();
  return PassOn<Empty>(manager_, loop_, context, request, response, "Exec", exec.SerializeAsString(),
                       kNoLimit, ToEmpty);
}

grpc::ServerUnaryReactor* TasksService::ResizePty(grpc::CallbackServerContext* context,
                                                  const api::ResizePtyRequest* request, Empty* response) {
  shim::ResizePtyRequest resize;
  resize.set_id(request->container_id());
  resize.set_exec_id(request->exec_id());
  resize.set_width(request->width());
  resize.set_height(request->height());
  return PassOn<Empty>(manager_, loop_, context, request, response, "ResizePty", resize.SerializeAsString(),
                       kNoLimit, ToEmpty);
}

grpc::ServerUnaryReactor* TasksService::CloseIO(grpc::CallbackServerContext* context,
                                                const api::CloseIORequest* request, Empty* response) {
  shim::CloseIORequest close;
  close.set_id(request->container_id());
  close.set_exec_id(request->exec_id());
  close.set_stdin(request->stdin());
  return PassOn<Empty>(manager_, loop_, context, request, response, "CloseIO", close.SerializeAsString(),
                       kNoLimit, ToEmpty);
}

grpc::ServerUnaryReactor* TasksService::Pause(grpc::CallbackServerContext* context,
                                              const api::PauseTaskRequest* request, Empty* response) {
  shim::PauseRequest pause;
  pause.set_id(request->container_id());
  return PassOn<Empty>(manager_, loop_, context, request, response, "Pause", pause.SerializeAsString(),
                       kNoLimit, ToEmpty);
}

grpc::ServerUnaryReactor* TasksService::Resume(grpc::CallbackServerContext* context,
                                               const api::ResumeTaskRequest* request, Empty* response) {
  shim::ResumeRequest resume;
  resume.set_id(request->container_id());
  return PassOn<Empty>(manager_, loop_, context, request, response, "Resume", resume.SerializeAsString(),
                       kNoLimit, ToEmpty);
}

grpc::ServerUnaryReactor* TasksService::ListPids(grpc::CallbackServerContext* context,
                                                 const api::ListPidsRequest* request,
                                                 api::ListPidsResponse* response) {
  shim::PidsRequest pids;
  pids.set_id(request->container_id());
  return PassOn<shim::PidsResponse>(manager_, loop_, context, request, response, "Pids",
                                    pids.SerializeAsString(), kNoLimit, [](shim::PidsResponse listed) {
                                      api::ListPidsResponse out;
                                      out.mutable_processes()->Swap(listed.mutable_processes());
                                      return out;
                                    });
}

grpc::ServerUnaryReactor* TasksService::Update(grpc::CallbackServerContext* context,
                                               const api::UpdateTaskRequest* request, Empty* response) {
  shim::UpdateTaskRequest update;
  update.set_id(request->container_id());
  *update.mutable_resources() = request->resources();
  *update.mutable_annotations() = request->annotations();
  return PassOn<Empty>(manager_, loop_, context, request, response, "Update", update.SerializeAsString(),
                       kNoLimit, ToEmpty);
}

grpc::ServerUnaryReactor* TasksService::Checkpoint(grpc::CallbackServerContext* context,
                                                   const api::CheckpointTaskRequest* request,
                                                   api::CheckpointTaskResponse* response) {
  return server::RunAsync(
      context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const api::CheckpointTaskRequest& request,
             Reply<api::CheckpointTaskResponse> reply) {
        const TaskKey key{call.ns, request.container_id()};
        bulk_->Submit([this, key, request, scope = ScopeOf(call), reply = std::move(reply)]() mutable {
          const std::string image_path = ImagePathOf(request);
          const bool keep = image_path.empty();
          absl::StatusOr<std::string> directory = keep ? checkpoints_->MakeDirectory() : image_path;
          if (!directory.ok()) return reply(directory.status());
          shim::CheckpointTaskRequest checkpoint;
          checkpoint.set_id(key.id);
          checkpoint.set_path(*directory);
          if (request.has_options()) *checkpoint.mutable_options() = request.options();
          auto store = [this, key, scope, keep, directory = *directory,
                        reply = std::move(reply)](absl::StatusOr<std::string> answer) mutable {
            if (!keep)
              return reply(answer.ok()
                               ? absl::StatusOr<api::CheckpointTaskResponse>(api::CheckpointTaskResponse())
                               : answer.status());
            bulk_->Submit([this, key, scope, directory, status = answer.status(), reply]() mutable {
              api::CheckpointTaskResponse response;
              if (status.ok()) {
                auto stored = checkpoints_->Store(scope, key.id, directory);
                status = stored.status();
                if (status.ok()) *response.mutable_descriptors() = {stored->begin(), stored->end()};
              }
              checkpoints_->Discard(directory);
              if (!status.ok()) return reply(status);
              reply(std::move(response));
            });
          };
          loop_->Post(
              [this, key, payload = checkpoint.SerializeAsString(), store = std::move(store)]() mutable {
                manager_->Call(key, "Checkpoint", std::move(payload), kNoLimit, std::move(store));
              });
        });
      });
}

grpc::ServerUnaryReactor* TasksService::Metrics(grpc::CallbackServerContext* context,
                                                const api::MetricsRequest* request,
                                                api::MetricsResponse* response) {
  return server::RunAsync(
      context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const api::MetricsRequest& request, Reply<api::MetricsResponse> reply) {
        absl::StatusOr<filters::Filter> filter = filters::Filter::ParseAny(request.filters());
        if (!filter.ok()) return reply(filter.status());
        loop_->Post([this, ns = call.ns, filter = *std::move(filter), reply = std::move(reply)]() mutable {
          auto gathering = std::make_shared<Gathering<api::MetricsResponse>>(std::move(reply));
          for (const TaskKey& key : manager_->List(ns)) {
            const bool wanted =
                filter.Match([&key](filters::FieldPath path) -> std::optional<absl::string_view> {
                  if (path.size() == 1 && path[0] == "id") return filters::TextField(key.id);
                  if (path.size() == 1 && path[0] == "namespace") return filters::TextField(key.ns);
                  return std::nullopt;
                });
            if (!wanted) continue;
            shim::StatsRequest request;
            request.set_id(key.id);
            manager_->Call(
                key, "Stats", request.SerializeAsString(), manager_->timeouts().task_state,
                [key, gathering](const absl::StatusOr<std::string>& answer) {
                  auto stats = Parse<shim::StatsResponse>(answer);
                  if (!stats.ok()) return;  // it ended meanwhile, or does not answer
                  const int64_t nanos = absl::ToUnixNanos(sys::WallNow());
                  containerd::types::Metric* metric = gathering->response.add_metrics();
                  metric->set_id(key.id);
                  metric->mutable_timestamp()->set_seconds(nanos / 1'000'000'000);
                  metric->mutable_timestamp()->set_nanos(static_cast<int32_t>(nanos % 1'000'000'000));
                  metric->mutable_data()->Swap(stats->mutable_stats());
                });
          }
        });
      });
}

grpc::ServerUnaryReactor* TasksService::Wait(grpc::CallbackServerContext* context,
                                             const api::WaitRequest* request, api::WaitResponse* response) {
  return server::RunAsync(
      context, NamespaceRule::kRequired, request, response,
      [this](const CallContext& call, const api::WaitRequest& request, Reply<api::WaitResponse> reply) {
        const TaskKey key{call.ns, request.container_id()};
        auto waiter = std::make_shared<uint64_t>(0);  // on the loop's thread only
        reply.OnCancel([this, key, exec_id = request.exec_id(), waiter] {
          loop_->Post([this, key, exec_id, waiter] { manager_->CancelWait(key, exec_id, *waiter); });
        });
        loop_->Post([this, key, exec_id = request.exec_id(), waiter, reply = std::move(reply)]() mutable {
          *waiter = manager_->Wait(
              key, exec_id, [reply = std::move(reply)](const absl::StatusOr<shim::WaitResponse>& ended) {
                if (!ended.ok()) return reply(ended.status());
                api::WaitResponse out;
                out.set_exit_status(ended->exit_status());
                *out.mutable_exited_at() = ended->exited_at();
                reply(std::move(out));
              });
        });
      });
}

}  // namespace gantry::services
