#include "shim/service/bundle_watch.h"

#include <sys/inotify.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "runtime/sys/status.h"

namespace gantry::shim {

BundleWatch::BundleWatch(sys::EventLoop* loop, sys::UniqueFd inotify, absl::AnyInvocable<void()> on_gone)
    : loop_(loop), inotify_(std::move(inotify)), on_gone_(std::move(on_gone)) {}

absl::StatusOr<std::unique_ptr<BundleWatch>> BundleWatch::Create(sys::EventLoop* loop,
                                                                 absl::AnyInvocable<void()> on_gone) {
  sys::UniqueFd inotify(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!inotify) return sys::ErrnoStatus("inotify_init1", "");
  std::unique_ptr<BundleWatch> watch(new BundleWatch(loop, std::move(inotify), std::move(on_gone)));
  GANTRY_RETURN_IF_ERROR(
      loop->Add(watch->inotify_.get(), EPOLLIN, [w = watch.get()](uint32_t) { w->Read(); }));
  return watch;
}

BundleWatch::~BundleWatch() { loop_->Remove(inotify_.get()); }

absl::Status BundleWatch::Add(const std::string& bundle) {
  const int number = inotify_add_watch(inotify_.get(), bundle.c_str(), IN_DELETE_SELF | IN_ONLYDIR);
  if (number < 0) {
    absl::Status status = sys::ErrnoStatus("inotify_add_watch", bundle);
    // What is not there is gone.
    if (absl::IsNotFound(status)) {
      any_ = true;
      current_[bundle] = number;
    } else {
      blind_ = true;
    }
    return status;
  }
  any_ = true;
  watched_[number] = bundle;
  current_[bundle] = number;
  return absl::OkStatus();
}

bool BundleWatch::IsGone(const std::string& bundle) const {
  const auto it = current_.find(bundle);
  return it != current_.end() && !watched_.contains(it->second);
}

void BundleWatch::Read() {
  alignas(inotify_event) char buffer[4096];
  bool gone = false;
  ssize_t size;
  while ((size = read(inotify_.get(), buffer, sizeof(buffer))) > 0) {
    for (ssize_t at = 0; at < size;) {
      inotify_event event;
      std::memcpy(&event, buffer + at, sizeof(event));
      at += static_cast<ssize_t>(sizeof(event) + event.len);
      if ((event.mask & (IN_DELETE_SELF | IN_IGNORED | IN_UNMOUNT)) != 0)
        gone |= watched_.erase(event.wd) > 0;
    }
  }
  if (gone) on_gone_();
}

}  // namespace gantry::shim
