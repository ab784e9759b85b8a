// Tells when the bundles of a shim's containers are gone: then nobody will ever ask for these containers again.
//
// Belongs to the loop's thread.
#ifndef GANTRY_SHIM_SERVICE_BUNDLE_WATCH_H_
#define GANTRY_SHIM_SERVICE_BUNDLE_WATCH_H_

#include <map>
#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/sys/event_loop.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::shim {

class BundleWatch {
 public:
  // `on_gone` is called after one or more of them went.
  static absl::StatusOr<std::unique_ptr<BundleWatch>> Create(sys::EventLoop* loop,
                                                             absl::AnyInvocable<void()> on_gone);
  ~BundleWatch();
  BundleWatch(const BundleWatch&) = delete;
  BundleWatch& operator=(const BundleWatch&) = delete;

  // Watches the directory that is at this path now. A second time is OK: another one may be there.
  absl::Status Add(const std::string& bundle);

  // The directory that was last watched under this path was removed, and not forgotten.
  bool IsGone(const std::string& bundle) const;
  // Nobody will ask for it again.
  void Forget(const std::string& bundle) { current_.erase(bundle); }
  // All that there ever were are removed. False if one could not be watched.
  bool AllGone() const { return any_ && !blind_ && watched_.empty(); }

 private:
  BundleWatch(sys::EventLoop* loop, sys::UniqueFd inotify, absl::AnyInvocable<void()> on_gone);
  void Read();

  sys::EventLoop* const loop_;
  const sys::UniqueFd inotify_;
  absl::AnyInvocable<void()> on_gone_;
  bool any_ = false, blind_ = false;
  std::map<int, std::string> watched_;  // by the watch's number
  std::map<std::string, int> current_;  // of a path; gone when not among those that are watched
};

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_SERVICE_BUNDLE_WATCH_H_
