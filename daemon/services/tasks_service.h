// containerd.services.tasks.v1.Tasks over the task manager: translated to the shim's own messages, and back.
//
// No call holds a thread: each is handed to the loop, and answered when the shim has answered. What a checkpoint writes
// and reads of the content store is done on the pool of long work.
// Thread-safe.
#ifndef GANTRY_DAEMON_SERVICES_TASKS_SERVICE_H_
#define GANTRY_DAEMON_SERVICES_TASKS_SERVICE_H_

#include <google/protobuf/message.h>

#include "api/proto/containerd/services/tasks/v1/tasks.grpc.pb.h"
#include "daemon/server/worker_pool.h"
#include "daemon/services/checkpoint_images.h"
#include "daemon/tasks/manager.h"
#include "runtime/sys/event_loop.h"

namespace gantry::services {

class TasksService final : public containerd::services::tasks::v1::Tasks::CallbackService {
 public:
  // `loop` is the manager's. All outlive the service.
  TasksService(tasks::Manager* manager, sys::EventLoop* loop, CheckpointImages* checkpoints,
               server::WorkerPool* bulk)
      : manager_(manager), loop_(loop), checkpoints_(checkpoints), bulk_(bulk) {}

#define GANTRY_TASKS_METHOD(name, Request, Response)                                      \
  grpc::ServerUnaryReactor* name(grpc::CallbackServerContext* context,                    \
                                 const containerd::services::tasks::v1::Request* request, \
                                 Response* response) override
  GANTRY_TASKS_METHOD(Create, CreateTaskRequest, containerd::services::tasks::v1::CreateTaskResponse);
  GANTRY_TASKS_METHOD(Start, StartRequest, containerd::services::tasks::v1::StartResponse);
  GANTRY_TASKS_METHOD(Delete, DeleteTaskRequest, containerd::services::tasks::v1::DeleteResponse);
  GANTRY_TASKS_METHOD(DeleteProcess, DeleteProcessRequest, containerd::services::tasks::v1::DeleteResponse);
  GANTRY_TASKS_METHOD(Get, GetRequest, containerd::services::tasks::v1::GetResponse);
  GANTRY_TASKS_METHOD(List, ListTasksRequest, containerd::services::tasks::v1::ListTasksResponse);
  GANTRY_TASKS_METHOD(Kill, KillRequest, google::protobuf::Empty);
  GANTRY_TASKS_METHOD(Exec, ExecProcessRequest, google::protobuf::Empty);
  GANTRY_TASKS_METHOD(ResizePty, ResizePtyRequest, google::protobuf::Empty);
  GANTRY_TASKS_METHOD(CloseIO, CloseIORequest, google::protobuf::Empty);
  GANTRY_TASKS_METHOD(Pause, PauseTaskRequest, google::protobuf::Empty);
  GANTRY_TASKS_METHOD(Resume, ResumeTaskRequest, google::protobuf::Empty);
  GANTRY_TASKS_METHOD(ListPids, ListPidsRequest, containerd::services::tasks::v1::ListPidsResponse);
  GANTRY_TASKS_METHOD(Checkpoint, CheckpointTaskRequest,
                      containerd::services::tasks::v1::CheckpointTaskResponse);
  GANTRY_TASKS_METHOD(Update, UpdateTaskRequest, google::protobuf::Empty);
  GANTRY_TASKS_METHOD(Metrics, MetricsRequest, containerd::services::tasks::v1::MetricsResponse);
  GANTRY_TASKS_METHOD(Wait, WaitRequest, containerd::services::tasks::v1::WaitResponse);
#undef GANTRY_TASKS_METHOD

 private:
  tasks::Manager* const manager_;
  sys::EventLoop* const loop_;
  CheckpointImages* const checkpoints_;
  server::WorkerPool* const bulk_;
};

}  // namespace gantry::services

#endif  // GANTRY_DAEMON_SERVICES_TASKS_SERVICE_H_
