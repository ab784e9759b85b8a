#include "daemon/config/config.h"

#include <glob.h>

#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::config {
namespace {

constexpr size_t kLargestFile = 4 << 20;
constexpr size_t kMostFiles = 256;

bool IsContainerd(absl::string_view program) { return program == "containerd"; }

std::string Directory(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

std::vector<std::string> Glob(const std::string& pattern) {
  glob_t result = {};
  std::vector<std::string> paths;
  if (glob(pattern.c_str(), 0, nullptr, &result) == 0) {
    paths.assign(result.gl_pathv, result.gl_pathv + result.gl_pathc);
  }
  globfree(&result);
  return paths;
}

// A file and, after it, what it imports; each file once.
absl::Status LoadFile(const std::string& path, std::set<std::string>* loaded, Loaded* out) {
  if (!loaded->insert(path).second) return absl::OkStatus();
  if (loaded->size() > kMostFiles) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": more than ", kMostFiles, " imported files"));
  }
  absl::StatusOr<std::string> text = sys::ReadFileAt(AT_FDCWD, path, kLargestFile);
  if (!text.ok()) return sys::Annotate(text.status(), "cannot read the configuration file");
  std::vector<std::string> outer = std::move(out->config.imports);
  out->config.imports.clear();
  GANTRY_RETURN_IF_ERROR(Parse(*text, path, &out->config, &out->warnings));
  const std::vector<std::string> imports = out->config.imports;
  for (const std::string& pattern : imports) {
    const std::string absolute =
        absl::StartsWith(pattern, "/") ? pattern : absl::StrCat(Directory(path), "/", pattern);
    for (const std::string& file : Glob(absolute)) GANTRY_RETURN_IF_ERROR(LoadFile(file, loaded, out));
  }
  outer.insert(outer.end(), imports.begin(), imports.end());
  out->config.imports = std::move(outer);
  return absl::OkStatus();
}

class TomlWriter {
 public:
  void Table(absl::string_view name) { absl::StrAppend(&text_, "\n[", name, "]\n"); }
  void String(absl::string_view key, absl::string_view value) {
    absl::StrAppend(&text_, key, " = \"", Escape(value), "\"\n");
  }
  void Int(absl::string_view key, int64_t value) { absl::StrAppend(&text_, key, " = ", value, "\n"); }
  void Double(absl::string_view key, double value) {
    const std::string digits = absl::StrCat(value);
    const bool floating = absl::StrContains(digits, ".") || absl::StrContains(digits, "e");
    absl::StrAppend(&text_, key, " = ", digits, floating ? "" : ".0", "\n");
  }
  void Bool(absl::string_view key, bool value) {
    absl::StrAppend(&text_, key, " = ", value ? "true" : "false", "\n");
  }
  void Duration(absl::string_view key, absl::Duration value) { String(key, absl::FormatDuration(value)); }
  void Strings(absl::string_view key, const std::vector<std::string>& values) {
    absl::StrAppend(&text_, key, " = [",
                    absl::StrJoin(values, ", ",
                                  [](std::string* out, const std::string& value) {
                                    absl::StrAppend(out, "\"", Escape(value), "\"");
                                  }),
                    "]\n");
  }
  std::string Take() { return std::move(text_); }

 private:
  static std::string Escape(absl::string_view value) {
    std::string out;
    for (char c : value) {
      if (c == '"' || c == '\\') out.push_back('\\');
      if (static_cast<unsigned char>(c) < 0x20) {
        absl::StrAppend(&out, "\\u00", absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2));
      } else {
        out.push_back(c);
      }
    }
    return out;
  }

  std::string text_;
};

void WriteTop(const Config& config, TomlWriter* out) {
  out->Int("version", 3);
  out->String("root", config.root);
  out->String("state", config.state);
  out->String("temp", config.temp);
  out->Int("oom_score", config.oom_score);
  out->Strings("imports", config.imports);
  out->Strings("disabled_plugins", config.disabled_plugins);
  out->Strings("required_plugins", config.required_plugins);
  out->Table("grpc");
  out->String("address", config.grpc.socket.address);
  out->Int("uid", config.grpc.socket.uid);
  out->Int("gid", config.grpc.socket.gid);
  out->Int("max_recv_message_size", config.grpc.max_recv_message_bytes);
  out->Int("max_send_message_size", config.grpc.max_send_message_bytes);
  out->Table("ttrpc");
  out->String("address", config.ttrpc.address);
  out->Int("uid", config.ttrpc.uid);
  out->Int("gid", config.ttrpc.gid);
  out->Table("debug");
  out->String("address", config.debug.socket.address);
  out->Int("uid", config.debug.socket.uid);
  out->Int("gid", config.debug.socket.gid);
  out->String("level", config.debug.level);
  out->String("format", config.debug.format);
  out->Table("metrics");
  out->String("address", config.metrics.address);
  out->Bool("grpc_histogram", config.metrics.grpc_histogram);
  out->Table("cgroup");
  out->String("path", config.cgroup_path);
  out->Table("timeouts");
  out->Duration("\"io.containerd.timeout.shim.load\"", config.timeouts.shim_load);
  out->Duration("\"io.containerd.timeout.shim.cleanup\"", config.timeouts.shim_cleanup);
  out->Duration("\"io.containerd.timeout.shim.shutdown\"", config.timeouts.shim_shutdown);
  out->Duration("\"io.containerd.timeout.task.state\"", config.timeouts.task_state);
}

void WriteSnapshotter(absl::string_view name, const Snapshotter& snapshotter, bool whole, TomlWriter* out) {
  out->Table(absl::StrCat("plugins.\"io.containerd.snapshotter.v1.", name, "\""));
  out->String("root_path", snapshotter.root_path);
  if (!whole) return;
  out->Bool("upperdir_label", snapshotter.upperdir_label);
  out->Bool("sync_remove", snapshotter.sync_remove);
  out->Bool("slow_chown", snapshotter.slow_chown);
  out->Strings("mount_options", snapshotter.mount_options);
}

void WritePlugins(const Config& config, TomlWriter* out) {
  out->Table("plugins.\"io.containerd.gc.v1.scheduler\"");
  out->Double("pause_threshold", config.gc.pause_threshold);
  out->Int("deletion_threshold", config.gc.deletion_threshold);
  out->Int("mutation_threshold", config.gc.mutation_threshold);
  out->Duration("schedule_delay", config.gc.schedule_delay);
  out->Duration("startup_delay", config.gc.startup_delay);
  out->Table("plugins.\"io.containerd.internal.v1.opt\"");
  out->String("path", config.opt_path);
  out->Table("plugins.\"io.containerd.metadata.v1.bolt\"");
  out->String("content_sharing_policy", config.content_sharing_policy);
  out->Table("plugins.\"io.containerd.monitor.container.v1.restart\"");
  out->Duration("interval", config.restart_interval);
  out->Table("plugins.\"io.containerd.runtime.v2.task\".runtimes");
  for (const auto& [name, path] : config.runtime.runtimes) out->String(absl::StrCat("\"", name, "\""), path);
  out->Table("plugins.\"io.containerd.shim.v1.manager\"");
  out->Strings("env", config.runtime.shim_env);
  WriteSnapshotter("native", config.native, false, out);
  WriteSnapshotter("overlayfs", config.overlayfs, true, out);
}

void WriteProxies(const Config& config, TomlWriter* out) {
  for (const auto& [name, plugin] : config.proxy_plugins) {
    out->Table(absl::StrCat("proxy_plugins.\"", name, "\""));
    out->String("type", plugin.type);
    out->String("address", plugin.address);
    out->String("platform", plugin.platform);
    out->Strings("capabilities", plugin.capabilities);
    if (plugin.exports.empty()) continue;
    out->Table(absl::StrCat("proxy_plugins.\"", name, "\".exports"));
    for (const auto& [key, value] : plugin.exports) out->String(absl::StrCat("\"", key, "\""), value);
  }
  for (const auto& [name, processor] : config.stream_processors) {
    out->Table(absl::StrCat("stream_processors.\"", name, "\""));
    out->Strings("accepts", processor.accepts);
    out->String("returns", processor.returns);
    out->String("path", processor.path);
    out->Strings("args", processor.args);
    out->Strings("env", processor.env);
  }
}

}  // namespace

std::string Config::TtrpcAddress() const {
  return ttrpc.address.empty() ? absl::StrCat(grpc.socket.address, ".ttrpc") : ttrpc.address;
}

bool Config::Disabled(absl::string_view plugin) const {
  for (const std::string& name : disabled_plugins) {
    if (name == plugin) return true;
  }
  return false;
}

Config Defaults(absl::string_view program) {
  Config config;
  const bool drop_in = IsContainerd(program);
  config.root = drop_in ? "/var/lib/containerd" : "/var/lib/gantry";
  config.state = drop_in ? "/run/containerd" : "/run/gantry";
  config.grpc.socket.address = drop_in ? "/run/containerd/containerd.sock" : "/run/gantry/gantry.sock";
  config.opt_path = drop_in ? "/opt/containerd" : "/opt/gantry";
  return config;
}

std::string DefaultConfigPath(absl::string_view program) {
  return IsContainerd(program) ? "/etc/containerd/config.toml" : "/etc/gantry/config.toml";
}

absl::StatusOr<Loaded> Load(const std::string& path, Config defaults) {
  Loaded loaded{std::move(defaults), {}};
  std::set<std::string> files;
  GANTRY_RETURN_IF_ERROR(LoadFile(path, &files, &loaded));
  return loaded;
}

std::string ToToml(const Config& config) {
  TomlWriter out;
  WriteTop(config, &out);
  WritePlugins(config, &out);
  WriteProxies(config, &out);
  return out.Take();
}

}  // namespace gantry::config
