// What outlives its process for a while: streams that are still copied, loggers that still write, root mounts
// whose last reference syncs a file system when it goes.
//
// Belongs to the loop's thread.
#ifndef GANTRY_SHIM_TASK_GRAVEYARD_H_
#define GANTRY_SHIM_TASK_GRAVEYARD_H_

#include <sys/types.h>

#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/functional/any_invocable.h"
#include "runtime/sys/event_loop.h"
#include "runtime/sys/pidfd.h"
#include "runtime/sys/unique_fd.h"
#include "shim/stdio/process_io.h"
#include "shim/task/reaper.h"

namespace gantry::shim {

class Graveyard {
 public:
  Graveyard(sys::EventLoop* loop, Reaper* reaper) : loop_(loop), reaper_(reaper) {}
  ~Graveyard();
  Graveyard(const Graveyard&) = delete;
  Graveyard& operator=(const Graveyard&) = delete;

  // The process of `io` has ended: what it wrote is copied, then it goes.
  void Bury(std::unique_ptr<ProcessIo> io);
  // A logger that runs from now on.
  void Watch(pid_t pid, sys::PidFd logger);
  // Closed by the shim's own end if that comes within a second, else by a helper.
  void Keep(sys::UniqueFd root_mount);

  // Nothing is left that would be lost if the shim ended now.
  bool empty() const { return streams_.empty() && loggers_.empty(); }
  // Called, each time, when empty() turns true.
  void OnEmpty(absl::AnyInvocable<void()> callback) { on_empty_ = std::move(callback); }

 private:
  void Check();

  sys::EventLoop* const loop_;
  Reaper* const reaper_;
  std::vector<std::unique_ptr<ProcessIo>> streams_;
  absl::flat_hash_set<pid_t> loggers_;
  std::vector<sys::UniqueFd> mounts_;
  sys::EventLoop::TimerId timer_ = 0;
  absl::AnyInvocable<void()> on_empty_;
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_TASK_GRAVEYARD_H_
