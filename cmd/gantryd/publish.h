// `gantryd publish`: hands an event of an old shim to the daemon.
#ifndef GANTRY_CMD_GANTRYD_PUBLISH_H_
#define GANTRY_CMD_GANTRYD_PUBLISH_H_

#include <string>

#include "absl/status/status.h"

namespace gantry {

// Reads an encoded google.protobuf.Any from `input_fd` to its end and publishes it at the daemon of `address`.
absl::Status Publish(const std::string& address, const std::string& ns, const std::string& topic,
                     int input_fd);

}  // namespace gantry

#endif  // GANTRY_CMD_GANTRYD_PUBLISH_H_
