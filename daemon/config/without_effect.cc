#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "daemon/config/config.h"

namespace gantry::config {

std::vector<std::string> SettingsWithoutEffect(const Config& config) {
  std::vector<std::string> sentences;
  const auto note = [&sentences](bool set, absl::string_view name, absl::string_view instead) {
    if (set) sentences.push_back(absl::StrCat(name, " has no effect in this build: ", instead));
  };
  note(!config.cgroup_path.empty(), "cgroup.path",
       "the daemon stays in the control group that it was started in");
  note(!config.metrics.address.empty(), "metrics.address", "no metrics are served");
  note(config.metrics.grpc_histogram, "metrics.grpc_histogram", "no metrics are served");
  note(!config.debug.socket.address.empty(), "debug.address", "no debug socket is opened");
  note(config.overlayfs.slow_chown, "overlayfs slow_chown", "layers are never copied to change their owners");
  note(!config.required_plugins.empty(), "required_plugins",
       "which parts are there is what `ctr plugins ls` tells");
  for (const auto& [name, plugin] : config.proxy_plugins) {
    note(true, absl::StrCat("proxy_plugins.", name), "plugins in other processes are not connected");
  }
  for (const auto& [name, processor] : config.stream_processors) {
    note(true, absl::StrCat("stream_processors.", name), "layers of its media types are refused");
  }
  return sentences;
}

}  // namespace gantry::config
