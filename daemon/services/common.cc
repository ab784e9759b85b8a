#include "daemon/services/common.h"

#include "runtime/sys/log.h"

namespace gantry::services {

void PublishChange(events::Publisher& publisher, absl::string_view ns, absl::string_view topic,
                   const google::protobuf::Message& event) {
  if (absl::Status status = publisher.Publish(ns, topic, event); !status.ok()) {
    log::Warn("cannot publish", {{"topic", std::string(topic)}, {"error", status.ToString()}});
  }
}

}  // namespace gantry::services
