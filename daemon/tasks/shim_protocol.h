// The words that a daemon and a shim's program exchange on the command line: what `start` answers, what is kept of
// it, and the environment.
//
// CONTRACT, "Shim v2"; containerd's core/runtime/v2/README.md. Pure functions, thread-safe.
#ifndef GANTRY_DAEMON_TASKS_SHIM_PROTOCOL_H_
#define GANTRY_DAEMON_TASKS_SHIM_PROTOCOL_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::tasks {

// Where a shim listens and what it speaks there: the answer of `start`, and the content of bootstrap.json.
struct Bootstrap {
  int version = 2;                 // of the task service: 2 or 3
  std::string address;             // "unix:///..."
  std::string protocol = "ttrpc";  // the only one that is spoken
};

// Understands all three generations of answers: a protobuf BootstrapResult, JSON, the bare address.
// INVALID_ARGUMENT for anything else, UNIMPLEMENTED for a version or protocol that we don't speak.
absl::StatusOr<Bootstrap> ParseBootstrap(absl::string_view answer);
std::string FormatBootstrap(const Bootstrap& bootstrap);

// "containerd.task.v3.Task", or v2.
std::string TaskService(int version);

struct ShimCall {
  std::string binary;
  std::string ns;
  std::string id;
  std::string bundle;
  std::string grpc_address;
  std::string ttrpc_address;
  std::string publish_binary;
  bool debug = false;
};
enum class ShimAction { kStart, kServe, kSucceed, kDelete };

// argv, argv[0] included. kServe is our own shim's short way: it finds its listening socket as descriptor
// 3. kSucceed too, for a container whose shim was killed: it finds a pidfd of its init as descriptor 4.
std::vector<std::string> ShimArguments(const ShimCall& call, ShimAction action);

// `inherited` (as in environ(7)) and `extra`, then what the protocol prescribes.
std::vector<std::string> ShimEnvironment(const ShimCall& call, const std::vector<std::string>& inherited,
                                         const std::vector<std::string>& extra);

}  // namespace gantry::tasks

#endif  // GANTRY_DAEMON_TASKS_SHIM_PROTOCOL_H_
