// The whole daemon: made from a configuration, run until it is told to stop.
//
//   GANTRY_ASSIGN_OR_RETURN(auto daemon, Daemon::Create(config));
//   return daemon->Run();
#ifndef GANTRY_DAEMON_WIRING_DAEMON_H_
#define GANTRY_DAEMON_WIRING_DAEMON_H_

#include <memory>

#include "absl/status/statusor.h"
#include "daemon/config/config.h"

namespace gantry::wiring {

class Daemon {
 public:
  // Locks root and state, opens what they hold, finds the shims again and listens. To be called by the main thread
  // before any other thread exists, with SIGTERM, SIGINT and SIGPIPE as they come: they are taken over. Errors name
  // the directory, the file or the socket; nothing is left behind then but the directories.
  static absl::StatusOr<std::unique_ptr<Daemon>> Create(const config::Config& config);
  ~Daemon();
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;

  // Serves until SIGTERM or SIGINT; then ends its streams, lets running calls finish for a few seconds, and leaves
  // shims and containers as they are. On the thread that made it.
  absl::Status Run();

 private:
  struct State;
  explicit Daemon(std::unique_ptr<State> state);
  const std::unique_ptr<State> state_;
};

}  // namespace gantry::wiring

#endif  // GANTRY_DAEMON_WIRING_DAEMON_H_
