// Notice of out-of-memory kills.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/cgroup/files.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::cgroup {

unsigned OomWatch::events() const { return EPOLLIN; }

bool OomWatch::Read() {
  char buffer[4096];
  while (read(fd_.get(), buffer, sizeof buffer) > 0 && v2_) {
  }
  const std::string text = internal::ReadOrEmpty(counter_);
  if (text.empty()) return false;  // the cgroup is gone, which v1 tells by the same eventfd
  const uint64_t kills = internal::KeyedNumber(text, "oom_kill");
  if (kills > reported_) {
    reported_ = kills;
    return true;
  }
  // v1 tells when it runs out of memory, a moment before it kills and counts. That kill is reported now.
  if (v2_) return false;
  reported_ = kills + 1;
  return true;
}

absl::StatusOr<OomWatch> Cgroup::WatchOom() const {
  const Directory* directory = Find("memory");
  if (directory == nullptr) {
    return absl::FailedPreconditionError(
        "this host has no \"memory\" cgroup controller: no one tells of OOM kills");
  }
  OomWatch watch;
  watch.v2_ = directory->version == 2;
  if (watch.v2_) {
    watch.counter_ = directory->path + "/memory.events";
    watch.fd_.reset(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!watch.fd_.valid()) return sys::ErrnoStatus("inotify_init1", "");
    if (inotify_add_watch(watch.fd_.get(), watch.counter_.c_str(), IN_MODIFY) < 0) {
      return sys::ErrnoStatus("inotify_add_watch", watch.counter_);
    }
  } else {
    watch.counter_ = directory->path + "/memory.oom_control";
    watch.fd_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!watch.fd_.valid()) return sys::ErrnoStatus("eventfd", "");
    GANTRY_ASSIGN_OR_RETURN(watch.control_, sys::OpenAt(AT_FDCWD, watch.counter_, O_RDONLY));
    GANTRY_RETURN_IF_ERROR(internal::WriteControl(directory->path + "/cgroup.event_control",
                                                  absl::StrCat(watch.fd_.get(), " ", watch.control_.get())));
  }
  watch.reported_ = internal::KeyedNumber(internal::ReadOrEmpty(watch.counter_), "oom_kill");
  return watch;
}

}  // namespace gantry::cgroup
