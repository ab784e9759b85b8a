// The one table of error codes: absl::Status <-> gRPC <-> ttrpc (google.rpc.Status).
//
// All three count alike (google/rpc/code.proto), so the table is about the two things that could go wrong: a
// code that a peer made up, and the words by which containerd's clients know an error. Pure functions,
// thread-safe.
#ifndef GANTRY_API_ERRORS_ERRORS_H_
#define GANTRY_API_ERRORS_ERRORS_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gantry::errors {

// The number on the wire: the same for grpc::StatusCode and for google.rpc.Status.code.
int WireCode(absl::StatusCode code);

// A number that is no canonical code (below 0, above 16) becomes UNKNOWN.
absl::StatusCode FromWireCode(int code);

// 0 is OK, whatever the message.
absl::Status FromWire(int code, absl::string_view message);

// What goes on the wire as the message: ends, as containerd's errors do, with the name of the class (": not
// found", ": already exists", ...) for the six classes that its clients tell apart. Clients of 1.6 and 2.x
// cut the suffix off before they add it again, so it never doubles; a message that has it already is
// unchanged.
std::string WireMessage(const absl::Status& status);

// The canonical name, "NOT_FOUND", for logs and for `--format json`.
absl::string_view CodeName(absl::StatusCode code);

}  // namespace gantry::errors

#endif  // GANTRY_API_ERRORS_ERRORS_H_
