// Who makes a container holds its bundle until it has made it, or undone it; and so does who cleans it up, until that is
// done: the file `builder`, locked.
//
// A shim that is killed leaves its builder behind, which finds that out when it has something to tell, and then undoes
// what it did. Whoever cleans up meanwhile would miss what is not there yet, and the builder would later hit what comes
// next under the same id. A `delete` that outlives its daemon would hit it in the same way.
//
// The lock is a record lock (fcntl(2)): it belongs to the process, no child has it, and the kernel tells whose it is.
#ifndef GANTRY_SHIM_BUILDER_BUNDLE_LOCK_H_
#define GANTRY_SHIM_BUILDER_BUNDLE_LOCK_H_

#include <sys/types.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::shim {

// Called in the builder, before it makes anything; `shim` is the process that forked it. The lock lasts until the
// descriptor is closed. ABORTED when the shim has ended already: whoever cleans up need not have seen the lock.
absl::StatusOr<sys::UniqueFd> HoldBundle(const std::string& bundle, pid_t shim);

// Called by who cleans up: waits until nobody else holds the bundle, and holds it. A holder that takes longer than
// `patience` is killed. Invalid: there is no bundle, or it cannot be locked.
sys::UniqueFd HoldAfterOthers(const std::string& bundle, absl::Duration patience);

// Called by a successor of a killed shim, before it takes the container over: one at a time has it, and that is the one
// that was started last. A daemon that is killed while it starts one does not keep it from coming up, and the next daemon
// starts another one. An older one is killed; ABORTED for the older one of two. Held (the file `successor`) until the
// descriptor is closed. Needs Linux 6.9 (sys::PidFd::Identity), as all of this needs 6.15.
absl::StatusOr<sys::UniqueFd> HoldAsSuccessor(const std::string& bundle);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_BUILDER_BUNDLE_LOCK_H_
