// containerd.runtime.sandbox.v1.Sandbox over ttrpc: a shim that is a pod.
//
//   none ─ CreateSandbox ─► created ─ StartSandbox ─► ready ─ StopSandbox, or its process ends ─► stopped
//     ▲                                                                                              │
//     └──────────────────────────── ShutdownSandbox, and the shim ends ◄─────────────────────────────┘
//
// A shim holds one sandbox. If the specification in the sandbox's bundle has a process, that process is the sandbox's (it
// holds namespaces, say) and its end is the sandbox's end. Else the shim itself is all that there is: its pid is told.
// Containers of the sandbox are made by the task service of this shim. Stopping the sandbox ends them: at once when it
// is stopped without a timeout, else what has not ended by SIGTERM within it.
//
// Belongs to the loop's thread.
#ifndef GANTRY_SHIM_SERVICE_SANDBOX_SERVICE_H_
#define GANTRY_SHIM_SERVICE_SANDBOX_SERVICE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "api/proto/containerd/runtime/sandbox/v1/sandbox.pb.h"
#include "api/ttrpc/server.h"
#include "runtime/sys/unique_fd.h"
#include "shim/publish/task_events.h"
#include "shim/service/task_service.h"
#include "shim/task/container.h"

namespace gantry::shim {

class SandboxService {
 public:
  struct Hooks {
    // A sandbox is about to be made from this bundle; it was made.
    absl::AnyInvocable<void(const std::string& bundle)> on_create = {};
    absl::AnyInvocable<void()> on_created = {};
    // There is none any more: end once the answer is out.
    absl::AnyInvocable<void()> on_shutdown = {};
  };

  // `context` is the containers'. All outlive the service.
  SandboxService(const TaskContext* context, TaskService* tasks, Hooks hooks);
  ~SandboxService();
  SandboxService(const SandboxService&) = delete;
  SandboxService& operator=(const SandboxService&) = delete;

  void RegisterWith(ttrpc::Server* server);

  // From the start of CreateSandbox until ShutdownSandbox.
  bool exists() const { return phase_ != Phase::kNone; }
  // Its process lives.
  bool running() const { return process_ != nullptr && process_->busy(); }
  // For new containers: FAILED_PRECONDITION when the sandbox is stopped.
  absl::Status CheckJoin() const;
  // A container was created, or an init has ended.
  void OnContainersChanged();
  // Nobody will ask for it any more if its bundle is gone.
  void AbandonIf(absl::FunctionRef<bool(const std::string& bundle)> gone);

 private:
  enum class Phase { kNone, kCreating, kCreated, kReady, kStopped };
  template <typename Request>
  using Method = void (SandboxService::*)(const Request& request, ttrpc::Responder respond);
  template <typename Request>
  void Add(ttrpc::Server* server, absl::string_view name, Method<Request> method);

  void CreateSandbox(const containerd::runtime::sandbox::v1::CreateSandboxRequest& request,
                     ttrpc::Responder respond);
  void StartSandbox(const containerd::runtime::sandbox::v1::StartSandboxRequest& request,
                    ttrpc::Responder respond);
  void Platform(const containerd::runtime::sandbox::v1::PlatformRequest& request, ttrpc::Responder respond);
  void StopSandbox(const containerd::runtime::sandbox::v1::StopSandboxRequest& request,
                   ttrpc::Responder respond);
  void WaitSandbox(const containerd::runtime::sandbox::v1::WaitSandboxRequest& request,
                   ttrpc::Responder respond);
  void SandboxStatus(const containerd::runtime::sandbox::v1::SandboxStatusRequest& request,
                     ttrpc::Responder respond);
  void PingSandbox(const containerd::runtime::sandbox::v1::PingRequest& request, ttrpc::Responder respond);
  void ShutdownSandbox(const containerd::runtime::sandbox::v1::ShutdownSandboxRequest& request,
                       ttrpc::Responder respond);
  void SandboxMetrics(const containerd::runtime::sandbox::v1::SandboxMetricsRequest& request,
                      ttrpc::Responder respond);

  // NOT_FOUND if there is no such sandbox, or none yet.
  absl::Status Find(const std::string& id) const;
  void CreateProcess(CreateSpec spec, ttrpc::Responder respond);
  void FinishCreate(absl::Status status, ttrpc::Responder respond);
  void WatchProcess();
  pid_t pid() const;
  void Stop(absl::Duration patience, absl::AnyInvocable<void()> done);
  void SignalAll(int signal);
  void End(uint32_t status, absl::Time when);
  void CheckStopped();
  void Shut(ttrpc::Responder respond);
  void Forget();

  const TaskContext* const context_;
  TaskService* const tasks_;
  Hooks hooks_;
  TaskEvents silent_;  // the sandbox's process is no task
  TaskContext own_context_;
  Phase phase_ = Phase::kNone;
  std::string id_, bundle_;
  absl::Time created_at_, exited_at_;
  uint32_t exit_status_ = 0;
  std::unique_ptr<Container> process_;
  sys::UniqueFd inspection_;  // of the bundle, under way
  std::vector<ttrpc::Responder> waiters_;
  bool stopping_ = false;
  sys::EventLoop::TimerId kill_timer_ = 0;
  std::vector<absl::AnyInvocable<void()>> when_stopped_;
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_SERVICE_SANDBOX_SERVICE_H_
