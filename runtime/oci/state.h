// The state of a container as runtime.md ("State") defines it: printed by `state`, fed to hooks on stdin,
// sent to seccomp agents. Pure and thread-safe.
#ifndef GANTRY_RUNTIME_OCI_STATE_H_
#define GANTRY_RUNTIME_OCI_STATE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "runtime/oci/spec.h"

namespace gantry::oci {

enum class Status { kCreating, kCreated, kRunning, kPaused, kStopped };  // paused is runc's addition
absl::string_view StatusName(Status status);

struct State {
  std::string oci_version = kSpecVersion;
  std::string id;
  Status status = Status::kCreating;
  int pid = 0;         // as the host sees it; 0 when stopped, and then left out of the JSON
  std::string bundle;  // absolute
  std::map<std::string, std::string> annotations;
};

std::string ToJson(const State& state, bool pretty = false);

// What a seccomp agent receives beside the notification descriptor (config-linux.md, "The Container Process
// State").
struct ContainerProcessState {
  std::vector<std::string> fds = {"seccompFd"};
  int pid = 0;
  std::string metadata;
  State state;
};

std::string ToJson(const ContainerProcessState& state);

}  // namespace gantry::oci

#endif  // GANTRY_RUNTIME_OCI_STATE_H_
