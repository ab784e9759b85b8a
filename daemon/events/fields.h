// The fields of an event by which filters choose: namespace, topic, and event.<field> of the message inside.
//
// Names are the .proto's (event.container_id, event.io.stdin, event.labels.<key>); as in containerd, only
// strings have a value. Thread-safe: plain functions.
#ifndef GANTRY_DAEMON_EVENTS_FIELDS_H_
#define GANTRY_DAEMON_EVENTS_FIELDS_H_

#include <optional>
#include <string>
#include <vector>

#include "api/proto/containerd/types/event.pb.h"

namespace gantry::events {

// The value at `path` ({"event", "container_id"}); nullopt when the envelope has no such field, or it is no
// string. A string that is empty is absent, as containerd has it.
std::optional<std::string> FieldOf(const containerd::types::Envelope& envelope,
                                   const std::vector<std::string>& path);

}  // namespace gantry::events

#endif  // GANTRY_DAEMON_EVENTS_FIELDS_H_
