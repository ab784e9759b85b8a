// The daemon's configuration: a TOML file in containerd's versions 2, 3 and 4, merged with its imports.
//
// A key that we don't know is a warning with its file and line: never silence, never a crash, since the file
// may be one written for containerd. A key of the wrong type or with an impossible value is an error that
// names file, line and rule. Plain data: thread-safe once loaded.
//
// The format is containerd's (its docs/man/containerd-config.toml.5.md). In version 4 the tables [grpc],
// [ttrpc], [debug] (its socket) and [metrics] are plugin tables (io.containerd.server.v1.*); all versions are
// read alike.
#ifndef GANTRY_DAEMON_CONFIG_CONFIG_H_
#define GANTRY_DAEMON_CONFIG_CONFIG_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace gantry::config {

// The newest version of the file that is understood, and the oldest.
inline constexpr int kNewestVersion = 4;
inline constexpr int kOldestVersion = 2;

struct Socket {
  std::string address;  // a path; empty: the default
  uint32_t uid = 0;
  uint32_t gid = 0;
};

struct Grpc {
  Socket socket;
  int64_t max_recv_message_bytes = 16 << 20;
  int64_t max_send_message_bytes = 16 << 20;
};

struct Debug {
  Socket socket;
  std::string level = "info";
  std::string format = "text";  // text (logfmt) or json
};

struct Metrics {
  std::string address;  // empty: off
  bool grpc_histogram = false;
};

// [proxy_plugins.<name>]
struct ProxyPlugin {
  std::string type;  // snapshot, content, diff, sandbox
  std::string address;
  std::string platform;
  std::map<std::string, std::string> exports;
  std::vector<std::string> capabilities;
};

// [stream_processors."<name>"]
struct StreamProcessor {
  std::vector<std::string> accepts;
  std::string returns;
  std::string path;
  std::vector<std::string> args;
  std::vector<std::string> env;
};

// [plugins."io.containerd.gc.v1.scheduler"]
struct GcScheduler {
  double pause_threshold = 0.02;  // the share of time that collections may take
  int64_t deletion_threshold = 0;
  int64_t mutation_threshold = 100;
  absl::Duration schedule_delay = absl::ZeroDuration();
  absl::Duration startup_delay = absl::Milliseconds(100);
};

// [plugins."io.containerd.runtime.v2.task"] and [plugins."io.containerd.shim.v1.manager"]
struct Runtime {
  // Our own key `runtimes`: the program that serves a runtime's name, instead of the one that the name stands
  // for. io.containerd.runc.v2 is served by our shim unless it is named here.
  std::map<std::string, std::string> runtimes;
  std::vector<std::string> shim_env;  // KEY=value, added to each shim's environment
};

// [plugins."io.containerd.snapshotter.v1.overlayfs"] and ...native
struct Snapshotter {
  std::string root_path;  // empty: <root>/io.containerd.snapshotter.v1.<name>
  bool upperdir_label = false;
  bool sync_remove = false;
  bool slow_chown = false;
  std::vector<std::string> mount_options;
};

// [timeouts]; the names are containerd's, "io.containerd.timeout." is left out here.
struct Timeouts {
  absl::Duration shim_load = absl::Seconds(5);
  absl::Duration shim_cleanup = absl::Seconds(5);
  absl::Duration shim_shutdown = absl::Seconds(3);
  absl::Duration task_state = absl::Seconds(2);
};

struct Config {
  int version = kNewestVersion;
  std::string root;
  std::string state;
  std::string temp;
  Grpc grpc;
  Socket ttrpc;  // address empty: <grpc address>.ttrpc
  Debug debug;
  Metrics metrics;
  int oom_score = 0;
  std::string cgroup_path;
  std::vector<std::string> imports;
  std::vector<std::string> disabled_plugins;
  std::vector<std::string> required_plugins;
  std::map<std::string, ProxyPlugin> proxy_plugins;
  std::map<std::string, StreamProcessor> stream_processors;
  Timeouts timeouts;

  GcScheduler gc;
  Runtime runtime;
  Snapshotter overlayfs;
  Snapshotter native;
  std::string content_sharing_policy = "shared";  // [plugins."io.containerd.metadata.v1.bolt"]
  std::string opt_path;                           // [plugins."io.containerd.internal.v1.opt"]
  absl::Duration restart_interval = absl::Seconds(10);

  std::string TtrpcAddress() const;
  bool Disabled(absl::string_view plugin) const;
};

// The defaults of a daemon that was started under the name `program`: containerd's own paths for
// "containerd", ours for any other.
Config Defaults(absl::string_view program);
std::string DefaultConfigPath(absl::string_view program);

struct Loaded {
  Config config;
  std::vector<std::string> warnings;  // "FILE:LINE: unknown key ..."
};

// Reads `path` over `defaults`, then its imports (globs, relative to the file that names them, sorted; lists
// are joined, everything else is replaced). Errors: NOT_FOUND for the file itself, INVALID_ARGUMENT
// "FILE:LINE: ...".
absl::StatusOr<Loaded> Load(const std::string& path, Config defaults);

// Settings that are understood and that this build does nothing with, a sentence each: the daemon says so when it
// starts, rather than leave someone to believe that they hold.
std::vector<std::string> SettingsWithoutEffect(const Config& config);

// One file's text over `config`; for Load, tests and the fuzzer. `file` is for the messages.
absl::Status Parse(absl::string_view text, const std::string& file, Config* config,
                   std::vector<std::string>* warnings);

// What `config default` and `config dump` print: a file of version 3 that reads back as the same.
std::string ToToml(const Config& config);

}  // namespace gantry::config

#endif  // GANTRY_DAEMON_CONFIG_CONFIG_H_
