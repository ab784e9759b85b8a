// The rule for identifiers that become path components and record keys: namespaces, container, task, exec and
// lease ids. The same as containerd's, so that no client meets a new one: 1 to 76 bytes of A-Z a-z 0-9, with
// single '.', '_' or '-' between them.
//
// Thread-safe: a plain function.
#ifndef GANTRY_DAEMON_SERVER_IDENTIFIER_H_
#define GANTRY_DAEMON_SERVER_IDENTIFIER_H_

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gantry::server {

inline constexpr size_t kMaxIdentifierLength = 76;

// OK, or INVALID_ARGUMENT that names `what` ("namespace", "container id", ...), the identifier and the rule.
absl::Status ValidateIdentifier(absl::string_view what, absl::string_view identifier);

}  // namespace gantry::server

#endif  // GANTRY_DAEMON_SERVER_IDENTIFIER_H_
