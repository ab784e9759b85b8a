// The commands of gantry, one function each: called by flags.cc when the command line was read.
//
// Each prints its result to standard output and returns the exit code, or an error that Describe turns into
// three lines. Not thread-safe: one command a process.
#ifndef GANTRY_CMD_GANTRY_COMMANDS_COMMANDS_H_
#define GANTRY_CMD_GANTRY_COMMANDS_COMMANDS_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cmd/gantry/client/client.h"
#include "cmd/gantry/client/import.h"
#include "cmd/gantry/run/options.h"

namespace gantry::cli {

// What every command knows.
struct Globals {
  std::string address;
  std::string ns;
  bool json = false;  // --format json
  Client::Options Connection() const { return {.address = address, .ns = ns}; }
};

struct ExecOptions {
  std::string container;
  std::vector<std::string> command;
  bool detach = false;
  bool interactive = false;
  bool tty = false;
  std::string user;
  std::string workdir;
  std::vector<std::string> env;
};

struct PsOptions {
  bool all = false;
  bool quiet = false;
};

struct KillOptions {
  std::vector<std::string> containers;
  std::string signal = "KILL";
};

struct StopOptions {
  std::vector<std::string> containers;
  int timeout_seconds = 10;
};

struct RemoveOptions {
  std::vector<std::string> names;
  bool force = false;
};

struct LogsOptions {
  std::string container;
  bool follow = false;
};

absl::StatusOr<int> RunCommand(const Globals& globals, const RunOptions& options);
// What --rm of a detached container leaves behind: waits for its end and removes it.
absl::StatusOr<int> ReapCommand(const Globals& globals, const std::string& container);
absl::StatusOr<int> ExecCommand(const Globals& globals, const ExecOptions& options);
absl::StatusOr<int> PsCommand(const Globals& globals, const PsOptions& options);
absl::StatusOr<int> KillCommand(const Globals& globals, const KillOptions& options);
absl::StatusOr<int> StopCommand(const Globals& globals, const StopOptions& options);
absl::StatusOr<int> WaitCommand(const Globals& globals, const std::vector<std::string>& containers);
absl::StatusOr<int> RemoveCommand(const Globals& globals, const RemoveOptions& options);
absl::StatusOr<int> LogsCommand(const Globals& globals, const LogsOptions& options);
absl::StatusOr<int> InspectCommand(const Globals& globals, const std::vector<std::string>& names);
absl::StatusOr<int> ImagesCommand(const Globals& globals, bool quiet);
absl::StatusOr<int> ImageImportCommand(const Globals& globals, const ImportOptions& options);
absl::StatusOr<int> ImageRemoveCommand(const Globals& globals, const RemoveOptions& options);
absl::StatusOr<int> EventsCommand(const Globals& globals, const std::vector<std::string>& filters);
absl::StatusOr<int> VersionCommand(const Globals& globals);

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_COMMANDS_COMMANDS_H_
