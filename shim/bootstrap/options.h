// The shim's command line, as containerd's daemons write it (CONTRACT, "Shim v2").
//
//   containerd-shim-gantry-v2 -namespace NS -address GRPC -publish-binary SELF -id ID [-debug] [-bundle B] start
//   containerd-shim-gantry-v2 -namespace NS -address GRPC -id ID -bundle B delete
//   containerd-shim-gantry-v2 -namespace NS -address GRPC -id ID [-bundle B] -socket-fd 3 [-init-fd 4] serve
//   containerd-shim-gantry-v2 -info | -v
//
// Flags take one dash or two, and their value as the next argument or after "=".
#ifndef GANTRY_SHIM_BOOTSTRAP_OPTIONS_H_
#define GANTRY_SHIM_BOOTSTRAP_OPTIONS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace gantry::shim {

enum class Action { kStart, kServe, kDelete, kInfo, kVersion };

struct Options {
  Action action = Action::kStart;
  std::string namespace_name;
  std::string id;
  std::string grpc_address;   // of the daemon, without a scheme
  std::string ttrpc_address;  // where events go: $TTRPC_ADDRESS
  std::string bundle;         // absolute; the working directory unless given
  bool debug = false;
  int socket_fd = -1;   // `serve`: the listening socket
  int init_fd = -1;     // `serve`: a pidfd of the init of a container whose shim was killed
  int max_version = 0;  // $MAX_SHIM_VERSION: the newest answer that the daemon knows; 0: it did not say
};

// `arguments` without the program's name; `environment` as in environ(7). INVALID_ARGUMENT names the flag and
// the rule. `bundle` is left empty when the command line has none. Pure.
absl::StatusOr<Options> ParseOptions(const std::vector<std::string>& arguments,
                                     const std::vector<std::string>& environment);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_BOOTSTRAP_OPTIONS_H_
