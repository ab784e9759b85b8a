// The sandbox controller `shim`: each sandbox is a shim of its own, which speaks containerd.runtime.sandbox.v1.Sandbox.
//
// Runs on the event loop; nothing in it waits, and a dead or hung shim costs its own sandbox alone.
//
// Guarantees:
// - A Create that fails, or that a killed daemon has not answered, leaves no shim, bundle or socket.
// - Sandboxes that a former daemon left are live again. Its records are the store's (metadata/sandboxes.h), not ours.
// - When a shim dies, its sandbox is cleaned by the shim's `delete`. However a started sandbox ends, /sandboxes/exit is
//   published once, by one daemon or another, and those who wait are answered. 137 stands for a shim that was killed.
//
// Thread safety: everything on the loop's thread, callbacks too. Errors: NOT_FOUND for a sandbox that does not run, else
// what the shim answered. Source: containerd's plugins/sandbox/controller.go (behaviour).
#ifndef GANTRY_DAEMON_SANDBOX_CONTROLLER_H_
#define GANTRY_DAEMON_SANDBOX_CONTROLLER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "api/proto/containerd/runtime/sandbox/v1/sandbox.pb.h"
#include "daemon/events/exchange.h"
#include "daemon/sandbox/instance.h"
#include "daemon/server/worker_pool.h"
#include "daemon/tasks/bundle.h"
#include "daemon/tasks/manager.h"
#include "runtime/sys/event_loop.h"

namespace gantry::sandbox {

// The name by which clients ask for this controller: containerd's default.
inline constexpr char kControllerName[] = "shim";

struct NewSandbox {
  std::string runtime;
  google::protobuf::Any runtime_options;
  std::string spec;                    // JSON for the bundle's config.json; may be empty
  shim::CreateSandboxRequest request;  // lacks the id and the bundle
};

class Controller {
 public:
  struct Parts {
    sys::EventLoop* loop;
    server::WorkerPool* records;
    server::WorkerPool* bulk;
    events::Publisher* publisher;
  };

  // Makes the folders and starts to find the shims of a former daemon. The pools must be gone before the controller.
  static absl::StatusOr<std::unique_ptr<Controller>> Create(Parts parts, tasks::ManagerOptions options);
  ~Controller();
  Controller(const Controller&) = delete;
  Controller& operator=(const Controller&) = delete;

  using Done = std::function<void(absl::Status)>;
  // ALREADY_EXISTS; FAILED_PRECONDITION: no such shim; else the shim's error.
  void CreateSandbox(const tasks::TaskKey& key, NewSandbox what, Done done);
  // One that cannot be started is taken down.
  using StartCallback = std::function<void(absl::StatusOr<shim::StartSandboxResponse>)>;
  void Start(const tasks::TaskKey& key, StartCallback done);
  // Ends its shim too.
  void Shutdown(const tasks::TaskKey& key, Done done);
  // One call to the sandbox's shim.
  using CallCallback = std::function<void(absl::StatusOr<std::string> answer)>;
  void Call(const tasks::TaskKey& key, absl::string_view method, std::string payload, absl::Duration timeout,
            CallCallback done);
  // Calls `done` when the sandbox has ended. Never 0.
  uint64_t Wait(const tasks::TaskKey& key, WaitCallback done);
  void CancelWait(const tasks::TaskKey& key, uint64_t waiter);

  // Where the sandbox's shim listens.
  absl::StatusOr<tasks::Bootstrap> Endpoint(const tasks::TaskKey& key) const;
  const config::Timeouts& timeouts() const { return options_.timeouts; }

  // Answers all who wait with UNAVAILABLE; from now on the end of a connection means nothing.
  void Stop();

 private:
  using InstancePtr = std::shared_ptr<Instance>;
  struct Creation;

  Controller(Parts parts, tasks::ManagerOptions options);

  InstancePtr Find(const tasks::TaskKey& key) const;
  absl::StatusOr<InstancePtr> FindLive(const tasks::TaskKey& key) const;
  void CallShim(const InstancePtr& instance, absl::string_view method, std::string payload,
                absl::Duration timeout, CallCallback done);
  absl::Status Prepare(Creation* creation);  // on a worker
  void Launch(const std::shared_ptr<Creation>& creation, absl::Status prepared);
  void AskStart(const std::shared_ptr<Creation>& creation);
  void SendCreate(const std::shared_ptr<Creation>& creation);
  void FailCreate(const std::shared_ptr<Creation>& creation, const absl::Status& status);
  absl::Status Connect(const InstancePtr& instance);
  void Watch(const InstancePtr& instance, sys::PidFd process);
  void ReadLog(const InstancePtr& instance);
  sys::SpawnOptions SpawnFor(const Instance& instance, tasks::ShimAction action) const;

  // controller_end.cc
  void AwaitExit(const InstancePtr& instance);
  void OnExit(const InstancePtr& instance, const shim::WaitSandboxResponse& exit);
  void OnShimGone(const InstancePtr& instance);
  void Clean(const InstancePtr& instance, std::function<void()> done);
  void EndShim(const InstancePtr& instance, std::function<void()> done);
  void TakeDown(const InstancePtr& instance, std::function<void()> done);
  void Disconnect(const InstancePtr& instance);
  void Bury(const InstancePtr& instance);
  void Settle(const InstancePtr& instance);

  // controller_load.cc
  absl::Status Load();
  void LoadOne(const tasks::TaskKey& key);
  void OnLoaded(const InstancePtr& instance, const absl::StatusOr<std::string>& answer);

  Parts parts_;
  const tasks::ManagerOptions options_;
  tasks::Bundles bundles_;
  std::map<tasks::TaskKey, InstancePtr> instances_;
  uint64_t next_waiter_ = 1;
  bool stopping_ = false;
};

}  // namespace gantry::sandbox

#endif  // GANTRY_DAEMON_SANDBOX_CONTROLLER_H_
