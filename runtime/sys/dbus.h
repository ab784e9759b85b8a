// A small client of D-Bus: calls with answers, and signals. For asking systemd; static programs cannot load libsystemd.
//
//   DBusConnection bus = *DBusConnection::Connect("/run/systemd/private", DBusConnection::Peer::kDirect, deadline);
//   DBusMessage answer = *bus.Call({... path, interface, member, body}, deadline);
//
// Blocking, but never beyond the deadline (DEADLINE_EXCEEDED). After an error of the connection itself it is of no use
// any more; after an error that the other side answered it is. Not thread-safe. Source: the D-Bus Specification,
// "Authentication Protocol" (EXTERNAL: the socket's credentials tell who we are, also from within a user namespace).
#ifndef GANTRY_RUNTIME_SYS_DBUS_H_
#define GANTRY_RUNTIME_SYS_DBUS_H_

#include <deque>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "runtime/sys/clock.h"
#include "runtime/sys/dbus_value.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::sys {

// The path of the first "unix:path=" of an address such as $DBUS_SESSION_BUS_ADDRESS; empty if there is none.
std::string DBusSocketPath(absl::string_view address);

// The name of the D-Bus error that a call was answered with ("org.freedesktop.systemd1.NoSuchUnit"); empty if
// `status` is none.
std::string DBusErrorOf(const absl::Status& status);

class DBusConnection {
 public:
  enum class Peer {
    kBus,     // a message bus: we say hello, and get a name
    kDirect,  // the service itself
  };

  // Connects to the socket at `path`. NOT_FOUND, or ECONNREFUSED, when nobody serves it.
  static absl::StatusOr<DBusConnection> Connect(const std::string& path, Peer peer, const Deadline& deadline);

  // Sends `call` (type and serial are filled in) and waits for its answer. Signals named by Keep are kept
  // meanwhile, at most kMaxKept: the oldest go. An answered error is the status of that meaning, its
  // message "<error name>: <text>"; see DBusErrorOf.
  absl::StatusOr<DBusMessage> Call(DBusMessage call, const Deadline& deadline);

  // The first kept or coming signal with this member.
  absl::StatusOr<DBusMessage> NextSignal(absl::string_view member, const Deadline& deadline);

  // Which signals are kept for NextSignal; none at first.
  void Keep(std::string member) { kept_member_ = std::move(member); }

  static constexpr size_t kMaxKept = 4096;

 private:
  DBusConnection(UniqueFd fd, Peer peer) : fd_(std::move(fd)), peer_(peer) {}

  absl::Status Authenticate(const Deadline& deadline);
  absl::StatusOr<std::string> ReadLine(const Deadline& deadline);
  absl::Status Send(absl::string_view bytes, const Deadline& deadline);
  absl::Status Fill(size_t size, const Deadline& deadline);
  absl::StatusOr<DBusMessage> ReadMessage(const Deadline& deadline);

  UniqueFd fd_;
  Peer peer_;
  std::string buffer_;
  uint32_t serial_ = 0;
  std::string kept_member_;
  std::deque<DBusMessage> signals_;
};

}  // namespace gantry::sys

#endif  // GANTRY_RUNTIME_SYS_DBUS_H_
