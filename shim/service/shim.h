// The serving shim: puts the parts together, and knows when it is over.
//
// It serves one container, or several: those of a group, or of the sandbox that it holds. It ends
// - after Shutdown, once no container and no sandbox is left; after ShutdownSandbox;
// - when the bundles are gone and nothing runs;
// - when nobody created a container or a sandbox within half a minute, or nobody shut it down within ten seconds after
//   the last one was deleted, and no client is connected;
// - on SIGTERM, if nothing runs.
// Before, it waits (ten seconds at most) for streams that are still copied and events that are not acknowledged.
#ifndef GANTRY_SHIM_SERVICE_SHIM_H_
#define GANTRY_SHIM_SERVICE_SHIM_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "api/ttrpc/server.h"
#include "runtime/sys/event_loop.h"
#include "runtime/sys/unique_fd.h"
#include "shim/publish/publisher.h"
#include "shim/publish/task_events.h"
#include "shim/service/bundle_watch.h"
#include "shim/service/sandbox_service.h"
#include "shim/service/task_service.h"
#include "shim/stdio/stream_hub.h"
#include "shim/task/graveyard.h"
#include "shim/task/reaper.h"

namespace gantry::shim {

struct ShimOptions {
  std::string namespace_name;
  std::string bundle;         // absolute; of the container or sandbox for which it was started
  std::string ttrpc_address;  // of the daemon, for events
  std::string socket_path;    // removed at the end; empty: nothing to remove
  // Of a successor: the container that it goes on with, and its init (a pidfd).
  std::string adopted_id = {};
  int adopted_init = -1;
};

class Shim {
 public:
  static absl::StatusOr<std::unique_ptr<Shim>> Create(ShimOptions options, sys::UniqueFd listening);
  Shim(const Shim&) = delete;
  Shim& operator=(const Shim&) = delete;

  // Serves until it is over. Then the caller ends the process: that closes what is left.
  absl::Status Run();

 private:
  Shim(ShimOptions options, std::unique_ptr<sys::EventLoop> loop);
  absl::Status Prepare(sys::UniqueFd listening);
  void MakeServices();
  void OnCreated();
  absl::Status CheckPeer(const ucred& peer);
  void WatchBundle(const std::string& bundle);
  void OnInitExit();
  void EndIfAbandoned();
  // No container and no sandbox.
  bool Empty() const { return service_->empty() && !sandbox_->exists(); }
  bool BundlesGone() const { return bundles_ != nullptr && bundles_->AllGone(); }
  // Ends the shim if, `patience` from now, there still is no container and no client.
  void EndUnlessUsed(absl::Duration patience);
  void End();
  void FinishIfDone();

  const ShimOptions options_;
  const std::unique_ptr<sys::EventLoop> loop_;
  std::unique_ptr<Reaper> reaper_;
  StreamHub streams_;
  std::unique_ptr<Graveyard> graveyard_;
  Publisher publisher_;
  TaskEvents events_;
  TaskContext context_;
  std::unique_ptr<TaskService> service_;
  std::unique_ptr<SandboxService> sandbox_;
  ttrpc::Server server_;
  std::unique_ptr<BundleWatch> bundles_;  // null: they cannot be watched
  sys::UniqueFd successor_lock_;
  sys::EventLoop::TimerId unused_timer_ = 0;
  bool ending_ = false;
  bool server_down_ = false;
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_SERVICE_SHIM_H_
