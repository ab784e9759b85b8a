// What create, run and restore have in common: a bundle that was read, and the state that is kept of what came of it.
#ifndef GANTRY_CMD_GANTRY_OCI_CREATION_H_
#define GANTRY_CMD_GANTRY_OCI_CREATION_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cmd/gantry-oci/args.h"
#include "runtime/container/container.h"
#include "runtime/container/state_dir.h"
#include "runtime/oci/spec.h"

namespace gantry::oci_cli {

struct Creation {
  std::string id;
  std::string bundle;  // absolute
  std::string config;  // the text, as it was read
  oci::Spec spec;      // validated
};

// The container's id is the first argument, its bundle --bundle.
absl::StatusOr<Creation> ReadBundle(const Arguments& arguments);

container::SavedState StateOf(const Creation& creation, const container::Container& container);

// A terminal needs a way out: a socket, or ourselves in the foreground.
absl::Status CheckTerminal(const Creation& creation, const Arguments& arguments, bool foreground);

}  // namespace gantry::oci_cli

#endif  // GANTRY_CMD_GANTRY_OCI_CREATION_H_
