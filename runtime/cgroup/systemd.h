// Asking systemd for scopes: the system's, or the user's where we are not the host's root.
//
// Through its private socket, as systemctl does, or over the bus. Blocking, bounded by kSystemdPatience in all. Errors
// of systemd's keep its words. See org.freedesktop.systemd1(5). Not thread-safe.
#ifndef GANTRY_RUNTIME_CGROUP_SYSTEMD_H_
#define GANTRY_RUNTIME_CGROUP_SYSTEMD_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "runtime/cgroup/host.h"
#include "runtime/cgroup/plan.h"
#include "runtime/sys/dbus.h"
#include "runtime/sys/pidfd.h"

namespace gantry::cgroup {

inline constexpr absl::Duration kSystemdPatience = absl::Seconds(30);

// Fills in host->systemd. FAILED_PRECONDITION if no systemd answers.
absl::Status ProbeSystemd(Host* host);
// The pure parts: names of drivers by "c<major>" and "b<major>"; whether an id map is that of the first user namespace.
std::map<std::string, std::string> ParseDevices(absl::string_view proc_devices);
bool IsInitialIdMap(absl::string_view uid_map);

// A process that does nothing but be in a scope, which systemd makes around a process only, until the container's
// own is there. Killed and reaped with the object.
class ScopeHolder {
 public:
  ScopeHolder() = default;
  ScopeHolder(ScopeHolder&&) = default;
  ScopeHolder& operator=(ScopeHolder&&) = default;
  ~ScopeHolder() { Release(); }

  static absl::StatusOr<ScopeHolder> Start();
  void Release();
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = 0;
  sys::PidFd pidfd_;
};

class Systemd {
 public:
  static absl::StatusOr<Systemd> Connect(bool user);
  // The direct connection at `path`, for tests.
  static absl::StatusOr<Systemd> ConnectTo(const std::string& path, sys::DBusConnection::Peer peer);

  // Makes the scope around process `pid`, and waits until it is there. A failed unit of that name, left of an earlier
  // container, is cleared away; a living one is ALREADY_EXISTS.
  absl::Status StartScope(const SystemdScope& scope, pid_t pid);
  // Changes properties until the scope ends.
  absl::Status SetProperties(const SystemdScope& scope);
  // Ends the unit with all that is in it, and forgets that it failed. OK if there is none.
  absl::Status StopUnit(const std::string& unit);
  // The manager's own cgroup: "" for the root.
  absl::StatusOr<std::string> ControlGroup();

 private:
  Systemd(sys::DBusConnection bus, sys::Deadline deadline) : bus_(std::move(bus)), deadline_(deadline) {}

  absl::StatusOr<sys::DBusMessage> CallManager(const char* member, std::vector<sys::DBusValue> body);
  absl::Status AwaitJob(const sys::DBusMessage& answer, absl::string_view what);

  sys::DBusConnection bus_;
  sys::Deadline deadline_;
};

}  // namespace gantry::cgroup

#endif  // GANTRY_RUNTIME_CGROUP_SYSTEMD_H_
