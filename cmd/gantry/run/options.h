// What `gantry run` was asked for, as typed, before anything was checked against an image.
#ifndef GANTRY_CMD_GANTRY_RUN_OPTIONS_H_
#define GANTRY_CMD_GANTRY_RUN_OPTIONS_H_

#include <optional>
#include <string>
#include <vector>

namespace gantry::cli {

struct RunOptions {
  std::string image;
  std::vector<std::string> command;  // after the image; empty: the image's own

  bool detach = false;
  bool remove = false;
  bool interactive = false;
  bool tty = false;
  bool read_only = false;
  std::string name;  // the container's id; empty: twelve random hexadecimal digits
  std::string user;
  std::string workdir;
  std::string hostname;
  std::string memory;      // as typed: "512m"
  std::string cpus;        // as typed: "1.5"
  std::string pids_limit;  // as typed
  std::string stop_signal;
  std::string network = "none";           // "none" or "host"
  std::optional<std::string> entrypoint;  // "" clears the image's
  std::vector<std::string> env;           // "K=V", or "K": taken from gantry's own environment
  std::vector<std::string> env_files;
  std::vector<std::string> labels;   // "K=V" or "K"
  std::vector<std::string> volumes;  // "SOURCE:TARGET[:ro|rw]"
  std::vector<std::string> mounts;   // "type=bind,source=…,target=…[,readonly]", "type=tmpfs,target=…"
  std::vector<std::string> tmpfs;    // "TARGET[:options]"
  std::vector<std::string> cap_add;
  std::vector<std::string> cap_drop;

  // The health check, as typed; empty: the image's.
  bool no_health_check = false;
  std::string health_cmd;
  std::string health_interval, health_timeout, health_start_period, health_start_interval;  // "30s"
  std::string health_retries;

  std::string runtime;      // "io.containerd.gantry.v2"
  std::string snapshotter;  // "overlayfs"
  std::string logs_dir;     // where a detached container's output goes
};

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_RUN_OPTIONS_H_
