#include "daemon/config/command_line.h"

#include <sys/un.h>

#include <CLI/CLI.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry::config {
namespace {

std::string BaseName(absl::string_view path) {
  const size_t slash = path.rfind('/');
  return std::string(slash == absl::string_view::npos ? path : path.substr(slash + 1));
}

absl::Status CheckAbsolute(absl::string_view what, absl::string_view path) {
  if (absl::StartsWith(path, "/") && path.find('\0') == absl::string_view::npos) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(what, " \"", path, "\" must be an absolute path"));
}

// `suffix_bytes` more must fit behind it (the ttrpc socket's name).
absl::Status CheckSocket(absl::string_view what, absl::string_view path) {
  GANTRY_RETURN_IF_ERROR(CheckAbsolute(what, path));
  constexpr size_t kLongest = sizeof(sockaddr_un::sun_path) - 1;
  if (path.size() <= kLongest) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(what, " \"", path, "\" is ", path.size(),
                                                 " bytes long, a unix socket's path holds at most ", kLongest,
                                                 ": choose a shorter directory"));
}

}  // namespace

absl::StatusOr<CommandLine> ParseCommandLine(int argc, const char* const* argv) {
  CommandLine out;
  out.program = argc > 0 ? BaseName(argv[0]) : "gantryd";
  CLI::App app(absl::StrCat(out.program, ": a container runtime daemon that speaks containerd's API"),
               out.program);
  app.fallthrough();
  app.add_option("-c,--config", out.config_path, "Path of the configuration file");
  app.add_option("-l,--log-level", out.log_level, "trace, debug, info, warn, error, fatal or panic");
  app.add_option("-a,--address", out.address, "Path of the gRPC socket");
  app.add_option("--root", out.root, "Directory of what must survive a reboot");
  app.add_option("--state", out.state, "Directory of what belongs to running containers");
  bool version = false;
  app.add_flag("-v,--version", version, "Print the version");
  CLI::App* config = app.add_subcommand("config", "Information on the configuration");
  CLI::App* config_default = config->add_subcommand("default", "Print the default configuration");
  CLI::App* config_dump = config->add_subcommand("dump", "Print the configuration in effect");
  CLI::App* config_migrate =
      config->add_subcommand("migrate", "Print the configuration in the newest form of the file");
  config->require_subcommand(1);
  CLI::App* publish = app.add_subcommand("publish", "Publish an event read from standard input");
  publish->add_option("--namespace", out.ns, "The event's namespace");
  publish->add_option("--topic", out.topic, "The event's topic");

  try {  // CLI11 reports by exceptions, which end here
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    out.action = Action::kHelp;
    out.text = app.help();
    return out;
  } catch (const CLI::Error& error) {
    return absl::InvalidArgumentError(absl::StrCat(error.what(), "; see ", out.program, " --help"));
  }
  if (version) {
    out.action = Action::kVersion;
  } else if (config_default->parsed()) {
    out.action = Action::kConfigDefault;
  } else if (config_dump->parsed() || config_migrate->parsed()) {  // both print what is in effect
    out.action = Action::kConfigDump;
  } else if (publish->parsed()) {
    out.action = Action::kPublish;
    if (out.topic.empty()) return absl::InvalidArgumentError("publish: --topic is required");
  }
  return out;
}

absl::Status ApplyFlags(const CommandLine& command_line, Config* config) {
  if (!command_line.log_level.empty()) config->debug.level = command_line.log_level;
  if (!command_line.address.empty()) config->grpc.socket.address = command_line.address;
  if (!command_line.root.empty()) config->root = command_line.root;
  if (!command_line.state.empty()) config->state = command_line.state;
  config->grpc.socket.address = std::string(absl::StripPrefix(config->grpc.socket.address, "unix://"));

  log::Level level;
  if (!config->debug.level.empty() && !log::ParseLevel(config->debug.level, &level)) {
    return absl::InvalidArgumentError(
        absl::StrCat("unknown log level \"", config->debug.level,
                     "\": it is trace, debug, info, warn, error, fatal or panic"));
  }
  GANTRY_RETURN_IF_ERROR(CheckAbsolute("root", config->root));
  GANTRY_RETURN_IF_ERROR(CheckAbsolute("state", config->state));
  if (config->root == config->state) {
    return absl::InvalidArgumentError(
        absl::StrCat("root and state must be different directories, both are \"", config->root, "\""));
  }
  GANTRY_RETURN_IF_ERROR(CheckSocket("address", config->grpc.socket.address));
  return CheckSocket("ttrpc address", config->TtrpcAddress());
}

}  // namespace gantry::config
