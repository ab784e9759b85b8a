// What the services of records have in common. Thread-safe: plain functions.
#ifndef GANTRY_DAEMON_SERVICES_COMMON_H_
#define GANTRY_DAEMON_SERVICES_COMMON_H_

#include <google/protobuf/field_mask.pb.h>
#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "daemon/events/exchange.h"
#include "daemon/metadata/database.h"
#include "daemon/server/call_context.h"

namespace gantry::services {

inline metadata::Scope ScopeOf(const server::CallContext& call) { return {call.ns, call.lease}; }

inline std::vector<std::string> PathsOf(const google::protobuf::FieldMask& mask) {
  return {mask.paths().begin(), mask.paths().end()};
}

// Publishes what has already happened: a failure is logged, as the call has succeeded all the same.
void PublishChange(events::Publisher& publisher, absl::string_view ns, absl::string_view topic,
                   const google::protobuf::Message& event);

}  // namespace gantry::services

#endif  // GANTRY_DAEMON_SERVICES_COMMON_H_
