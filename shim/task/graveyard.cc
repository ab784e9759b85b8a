#include "shim/task/graveyard.h"

#include <string>
#include <utility>

#include "runtime/sys/log.h"
#include "shim/builder/jobs.h"

namespace gantry::shim {
namespace {

// A daemon's Shutdown follows its Delete within milliseconds, and the shim's end closes everything.
constexpr absl::Duration kMountPatience = absl::Seconds(1);

}  // namespace

Graveyard::~Graveyard() {
  if (timer_ != 0) loop_->Cancel(timer_);
}

void Graveyard::Bury(std::unique_ptr<ProcessIo> io) {
  if (io == nullptr) return;
  ProcessIo* const raw = io.get();
  io->ProcessEnded([this, raw] {
    std::erase_if(streams_, [raw](const std::unique_ptr<ProcessIo>& one) { return one.get() == raw; });
    Check();
  });
  if (io->Lingers()) streams_.push_back(std::move(io));
}

void Graveyard::Watch(pid_t pid, sys::PidFd logger) {
  const absl::Status watched = reaper_->WatchOwned(pid, std::move(logger), [this, pid](sys::ExitStatus) {
    loggers_.erase(pid);
    Check();
  });
  if (watched.ok()) {
    loggers_.insert(pid);
  } else {
    log::Warn("a logger cannot be watched", {{"error", std::string(watched.message())}});
  }
}

void Graveyard::Keep(sys::UniqueFd root_mount) {
  if (!root_mount.valid()) return;
  mounts_.push_back(std::move(root_mount));
  if (timer_ != 0) return;
  timer_ = loop_->RunAfter(kMountPatience, [this] {
    timer_ = 0;
    for (sys::UniqueFd& mount : std::exchange(mounts_, {})) CloseElsewhere(std::move(mount)).IgnoreError();
  });
}

void Graveyard::Check() {
  if (empty() && on_empty_) on_empty_();
}

}  // namespace gantry::shim
