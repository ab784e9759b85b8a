// A Tasks.Wait in flight, that a poll(2) loop can wait for together with descriptors.
//
// Not thread-safe; gRPC's own thread only fills in the answer and wakes the descriptor.
#ifndef GANTRY_CMD_GANTRY_IO_WAIT_CALL_H_
#define GANTRY_CMD_GANTRY_IO_WAIT_CALL_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "cmd/gantry/client/client.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::cli {

class WaitCall {
 public:
  // Begins to wait for the process of the container `id` (`exec_id` empty: its first). `client` must outlive it.
  WaitCall(Client* client, const std::string& id, const std::string& exec_id);
  // Cancels a call in flight, and waits until gRPC let go of it.
  ~WaitCall();

  WaitCall(const WaitCall&) = delete;
  WaitCall& operator=(const WaitCall&) = delete;

  // Readable (POLLIN) once Result may be called.
  int fd() const;
  // The exit status, or why it is not known. Call it once, after fd() was readable.
  absl::StatusOr<uint32_t> Result();

 private:
  struct State;
  std::unique_ptr<State> state_;
  Client* client_;
  bool taken_ = false;
};

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_IO_WAIT_CALL_H_
