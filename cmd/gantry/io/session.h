// Being attached to a process: copies its streams, passes signals and window sizes on, and waits for its end.
//
// Order of use, so that no signal and no byte is lost:
//   SignalSource signals;                       first of all, before any thread exists
//   FifoSet fifos; Tasks.Create (or Exec) with the fifos' paths
//   Session session(...); session.Watch();      begins to wait before the process can end
//   Tasks.Start
//   session.Run()                               until the process ended and its output is drained
//
// Not thread-safe.
#ifndef GANTRY_CMD_GANTRY_IO_SESSION_H_
#define GANTRY_CMD_GANTRY_IO_SESSION_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cmd/gantry/client/client.h"
#include "cmd/gantry/io/fifo.h"
#include "cmd/gantry/io/wait_call.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::cli {

// Blocks the signals that a session passes on (all that a person or supervisor sends, and SIGWINCH), and
// delivers them to a descriptor instead.
class SignalSource {
 public:
  SignalSource();
  int fd() const { return fd_.get(); }

 private:
  sys::UniqueFd fd_;
};

class Session {
 public:
  struct Options {
    Client* client = nullptr;
    SignalSource* signals = nullptr;
    FifoSet* fifos = nullptr;
    std::string id = "";
    std::string exec_id = "";  // empty: the container's first process
    bool terminal = false;     // standard input is raw, and ctrl-p ctrl-q detaches
  };

  struct Outcome {
    bool detached = false;
    int exit_code = 0;  // of the process; meaningless if detached
  };

  explicit Session(Options options) : options_(std::move(options)) {}

  void Watch();

  // Returns when the process ended (its output copied to the end, or until a second passed without any), or
  // when the person detached. UNAVAILABLE if the daemon went away and didn't come back within a minute: a
  // daemon that is merely restarted is waited for, the container goes on meanwhile.
  absl::StatusOr<Outcome> Run();

 private:
  struct Pump;

  absl::Status TakeExit(Outcome* outcome);
  void PassSignals();
  void Resize();
  void CloseInput();
  bool CopyInput();

  Options options_;
  std::unique_ptr<WaitCall> wait_;
  std::string pending_input_;  // read from the person, not yet taken by the pipe
  bool input_open_ = false;
  bool exited_ = false;
  bool prefix_seen_ = false;  // ctrl-p came, ctrl-q may follow
  absl::Duration retry_for_ = absl::Minutes(1);
  bool retry_ = false;
};

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_IO_SESSION_H_
