// One running sandbox as its controller sees it. Only the controller uses this.
#ifndef GANTRY_DAEMON_SANDBOX_INSTANCE_H_
#define GANTRY_DAEMON_SANDBOX_INSTANCE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "api/proto/containerd/runtime/sandbox/v1/sandbox.pb.h"
#include "api/ttrpc/client.h"
#include "daemon/tasks/bundle.h"
#include "daemon/tasks/shim_protocol.h"
#include "runtime/sys/event_loop.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::sandbox {

namespace shim = containerd::runtime::sandbox::v1;

//   kCreating -> kLive -> kEnding -> (gone)
//   kLoading --^            ^
//       \-------------------|
enum class Phase { kCreating, kLoading, kLive, kEnding };

using WaitCallback = std::function<void(absl::StatusOr<shim::WaitSandboxResponse>)>;

struct Instance {
  explicit Instance(tasks::TaskKey k) : key(std::move(k)) {}

  const tasks::TaskKey key;
  Phase phase = Phase::kCreating;
  std::string binary;
  tasks::Bootstrap bootstrap;
  std::string socket_path;  // that the daemon made; empty for a foreign shim
  std::unique_ptr<ttrpc::Client> client;
  sys::PidFd process;     // of our shim that this daemon started; watched by the loop
  sys::UniqueFd log;      // of a foreign shim
  bool starting = false;  // StartSandbox is under way
  bool started = false;
  bool awaited = false;  // the shim was asked to tell its end
  bool exit_told = false;
  std::map<uint64_t, WaitCallback> waiters;
  std::function<void()> when_gone;  // set while the shim's end is awaited
  sys::EventLoop::TimerId end_timer = 0;
  std::vector<std::function<void()>> when_settled;  // run when it is live or gone
};

}  // namespace gantry::sandbox

#endif  // GANTRY_DAEMON_SANDBOX_INSTANCE_H_
