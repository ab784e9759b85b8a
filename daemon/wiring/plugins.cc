#include "daemon/wiring/plugins.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace gantry::wiring {

services::PluginRecord Plugin(std::string type, std::string id, absl::Status status) {
  services::PluginRecord record;
  record.type = std::move(type);
  record.id = std::move(id);
  record.status = std::move(status);
  return record;
}

void AddServicePlugins(const std::string& grpc_id, std::vector<services::PluginRecord>* plugins) {
  services::PluginRecord outer = Plugin(kGrpcPlugin, grpc_id);
  outer.requires_types = {kServicePlugin};
  plugins->push_back(std::move(outer));
  plugins->push_back(Plugin(kServicePlugin, absl::StrCat(grpc_id, "-service")));
}

}  // namespace gantry::wiring
