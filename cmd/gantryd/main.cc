// gantryd: the daemon. Started under the name containerd it takes containerd's paths.
#include <stdio.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cmd/gantryd/publish.h"
#include "daemon/config/command_line.h"
#include "daemon/config/config.h"
#include "daemon/wiring/daemon.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry {
namespace {

void Print(const std::string& text) { fwrite(text.data(), 1, text.size(), stdout); }

// The file (which may be missing if nobody named it), then the flags.
absl::StatusOr<config::Loaded> LoadConfig(const config::CommandLine& line) {
  const bool named = !line.config_path.empty();
  const std::string path = named ? line.config_path : config::DefaultConfigPath(line.program);
  absl::StatusOr<config::Loaded> loaded = config::Load(path, config::Defaults(line.program));
  if (!loaded.ok()) {
    if (named || !absl::IsNotFound(loaded.status())) return loaded.status();
    loaded = config::Loaded{config::Defaults(line.program), {}};
  }
  GANTRY_RETURN_IF_ERROR(config::ApplyFlags(line, &loaded->config));
  return loaded;
}

absl::Status Serve(const config::Loaded& loaded) {
  log::Level level = log::Level::kInfo;
  log::ParseLevel(loaded.config.debug.level, &level);
  log::Configure(level, loaded.config.debug.format == "json" ? log::Format::kJson : log::Format::kLogfmt, 2);
  for (const std::string& warning : loaded.warnings) log::Warn(warning);
  for (const std::string& sentence : config::SettingsWithoutEffect(loaded.config)) log::Warn(sentence);
  GANTRY_ASSIGN_OR_RETURN(std::unique_ptr<wiring::Daemon> daemon, wiring::Daemon::Create(loaded.config));
  return daemon->Run();
}

absl::Status Run(const config::CommandLine& line) {
  switch (line.action) {
    case config::Action::kVersion:
      Print(absl::StrCat(line.program, " gantry ", GANTRY_VERSION, "\n"));
      return absl::OkStatus();
    case config::Action::kHelp:
      Print(line.text);
      return absl::OkStatus();
    case config::Action::kConfigDefault:
      Print(config::ToToml(config::Defaults(line.program)));
      return absl::OkStatus();
    case config::Action::kConfigDump:
    case config::Action::kPublish:
    case config::Action::kServe:
      break;
  }
  if (line.action == config::Action::kPublish && !line.address.empty()) {
    return Publish(line.address, line.ns, line.topic, STDIN_FILENO);
  }
  GANTRY_ASSIGN_OR_RETURN(const config::Loaded loaded, LoadConfig(line));
  if (line.action == config::Action::kPublish) {
    return Publish(loaded.config.grpc.socket.address, line.ns, line.topic, STDIN_FILENO);
  }
  if (line.action == config::Action::kServe) return Serve(loaded);
  for (const std::string& warning : loaded.warnings) fprintf(stderr, "%s\n", warning.c_str());
  Print(config::ToToml(loaded.config));
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  const absl::StatusOr<config::CommandLine> line = config::ParseCommandLine(argc, argv);
  absl::Status status = line.status();
  if (line.ok()) status = Run(*line);
  if (status.ok()) return 0;
  fprintf(stderr, "%s: %s\n", line.ok() ? line->program.c_str() : "gantryd",
          std::string(status.message()).c_str());
  return line.ok() ? 1 : 2;
}

}  // namespace
}  // namespace gantry

int main(int argc, char** argv) { return gantry::Main(argc, argv); }
