// The daemon's command line: containerd's flags and subcommands.
//
//   gantryd [flags]                       serve
//   gantryd [flags] config default|dump|migrate   print the defaults, or what the file makes of them
//   gantryd [flags] publish --topic T --namespace N   an event (an encoded Any) from stdin, for old shims
//
// Pure: nothing is read or printed. Thread-safe.
#ifndef GANTRY_DAEMON_CONFIG_COMMAND_LINE_H_
#define GANTRY_DAEMON_CONFIG_COMMAND_LINE_H_

#include <string>

#include "absl/status/statusor.h"
#include "daemon/config/config.h"

namespace gantry::config {

enum class Action { kServe, kVersion, kHelp, kConfigDefault, kConfigDump, kPublish };

struct CommandLine {
  Action action = Action::kServe;
  std::string program;      // the last component of argv[0]
  std::string config_path;  // empty: the default, which may be missing
  // Each empty unless given; they win over the file.
  std::string log_level;
  std::string address;
  std::string root;
  std::string state;
  // publish
  std::string topic;
  std::string ns;
  // help and version
  std::string text;
};

// Errors: INVALID_ARGUMENT that says what is wrong and how to ask for help.
absl::StatusOr<CommandLine> ParseCommandLine(int argc, const char* const* argv);

// The flags over `config`, then the rules that a whole configuration must keep: absolute, distinct root and
// state, an address that fits a unix socket.
absl::Status ApplyFlags(const CommandLine& command_line, Config* config);

}  // namespace gantry::config

#endif  // GANTRY_DAEMON_CONFIG_COMMAND_LINE_H_
