// The messages inside ttrpc's frames, coded by hand, so that this library needs neither full nor lite
// protobuf.
//
//   Request  { service 1, method 2, payload 3, timeout_nano 4, metadata 5 (KeyValue { key 1, value 2 }) }
//   Response { status 1 (google.rpc.Status { code 1, message 2, details 3 }), payload 2 }
//
// Source: request.proto of containerd/ttrpc, and protobuf's encoding guide. Pure functions, thread-safe.
#ifndef GANTRY_API_TTRPC_ENVELOPE_H_
#define GANTRY_API_TTRPC_ENVELOPE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::ttrpc {

struct KeyValue {
  std::string key;
  std::string value;
  friend bool operator==(const KeyValue&, const KeyValue&) = default;
};
using Metadata = std::vector<KeyValue>;

struct Request {
  std::string service = {};
  std::string method = {};
  std::string payload = {};
  int64_t timeout_nanos = 0;  // 0: none
  Metadata metadata = {};
};

// The two fields are kept apart, as on the wire: an error may come with a payload, which is ignored. Details
// of a status are not kept.
struct Response {
  absl::Status status = {};
  std::string payload = {};
};

std::string EncodeRequest(const Request& request);
std::string EncodeResponse(const Response& response);

// Unknown fields are skipped, a field that comes twice is taken from its last place. INVALID_ARGUMENT for
// what is not protobuf or has more than 1,000 metadata entries. A status code that gRPC does not know becomes
// UNKNOWN.
absl::StatusOr<Request> ParseRequest(absl::string_view bytes);
absl::StatusOr<Response> ParseResponse(absl::string_view bytes);

}  // namespace gantry::ttrpc

#endif  // GANTRY_API_TTRPC_ENVELOPE_H_
