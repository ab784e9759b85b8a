// Tells systemd how the daemon is: sd_notify(3)'s protocol in a few lines, so that nothing of libsystemd is loaded.
#ifndef GANTRY_DAEMON_WIRING_NOTIFY_H_
#define GANTRY_DAEMON_WIRING_NOTIFY_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gantry::wiring {

// Sends `state` ("READY=1", "STOPPING=1") to the socket that NOTIFY_SOCKET names. OK and nothing done without it.
absl::Status NotifySystemd(absl::string_view state);

}  // namespace gantry::wiring

#endif  // GANTRY_DAEMON_WIRING_NOTIFY_H_
