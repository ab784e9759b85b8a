// The tables of the file, each a list of its keys.
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/config/config.h"
#include "daemon/config/toml_reader.h"

namespace gantry::config {
namespace {

constexpr int64_t kLargestMessage = int64_t{1} << 30;

void ReadSocket(TomlReader& reader, Socket* socket) {
  reader.String("address", &socket->address);
  reader.Uint32("uid", &socket->uid);
  reader.Uint32("gid", &socket->gid);
}

void ReadGrpc(TomlReader& reader, Grpc* grpc) {
  ReadSocket(reader, &grpc->socket);
  reader.Int("max_recv_message_size", 1, kLargestMessage, &grpc->max_recv_message_bytes);
  reader.Int("max_send_message_size", 1, kLargestMessage, &grpc->max_send_message_bytes);
  for (const char* key :
       {"tcp_address", "tcp_tls_ca", "tcp_tls_cert", "tcp_tls_key", "tcp_tls_common_name"}) {
    std::string value;
    reader.String(key, &value);
    if (!value.empty()) reader.NotBuilt(key);
  }
}

void ReadMetrics(TomlReader& reader, Metrics* metrics) {
  reader.String("address", &metrics->address);
  reader.Bool("grpc_histogram", &metrics->grpc_histogram);
}

void ReadDebug(TomlReader& reader, Debug* debug) {
  ReadSocket(reader, &debug->socket);
  reader.OneOf("level", {"", "trace", "debug", "info", "warn", "error", "fatal", "panic"}, &debug->level);
  reader.OneOf("format", {"", "text", "json"}, &debug->format);
  reader.Ignore("log_trace_id");
}

void ReadTimeouts(TomlReader& reader, Timeouts* timeouts) {
  reader.Duration("io.containerd.timeout.shim.load", &timeouts->shim_load);
  reader.Duration("io.containerd.timeout.shim.cleanup", &timeouts->shim_cleanup);
  reader.Duration("io.containerd.timeout.shim.shutdown", &timeouts->shim_shutdown);
  reader.Duration("io.containerd.timeout.task.state", &timeouts->task_state);
  // Of parts that hold no such wait here.
  reader.Ignore("io.containerd.timeout.bolt.open");
  reader.Ignore("io.containerd.timeout.metrics.shimstats");
  reader.Ignore("io.containerd.timeout.cri.defercleanup");
}

void ReadGc(TomlReader& reader, GcScheduler* gc) {
  reader.Double("pause_threshold", &gc->pause_threshold);
  reader.Int("deletion_threshold", 0, INT64_MAX, &gc->deletion_threshold);
  reader.Int("mutation_threshold", 0, INT64_MAX, &gc->mutation_threshold);
  reader.Duration("schedule_delay", &gc->schedule_delay);
  reader.Duration("startup_delay", &gc->startup_delay);
}

void ReadSnapshotter(TomlReader& reader, Snapshotter* snapshotter) {
  reader.String("root_path", &snapshotter->root_path);
  reader.Bool("upperdir_label", &snapshotter->upperdir_label);
  reader.Bool("sync_remove", &snapshotter->sync_remove);
  reader.Bool("slow_chown", &snapshotter->slow_chown);
  reader.AppendStrings("mount_options", &snapshotter->mount_options);
}

void ReadServerPlugins(TomlReader& plugins, Config* config) {
  plugins.Table("io.containerd.server.v1.grpc", [&](TomlReader& r) { ReadGrpc(r, &config->grpc); });
  plugins.Table("io.containerd.server.v1.ttrpc", [&](TomlReader& r) { ReadSocket(r, &config->ttrpc); });
  plugins.Table("io.containerd.server.v1.debug",
                [&](TomlReader& r) { ReadSocket(r, &config->debug.socket); });
  plugins.Table("io.containerd.server.v1.metrics",
                [&](TomlReader& r) { r.String("address", &config->metrics.address); });
  plugins.Table("io.containerd.metrics.v1.grpc-prometheus",
                [&](TomlReader& r) { r.Bool("grpc_histogram", &config->metrics.grpc_histogram); });
  plugins.NotBuilt("io.containerd.server.v1.grpc-tcp");
}

void ReadPlugins(TomlReader& plugins, Config* config) {
  ReadServerPlugins(plugins, config);
  plugins.Table("io.containerd.gc.v1.scheduler", [&](TomlReader& r) { ReadGc(r, &config->gc); });
  plugins.Table("io.containerd.runtime.v2.task", [&](TomlReader& r) {
    r.Ignore("platforms");
    r.Ignore("sched_core");
    r.StringMap("runtimes", &config->runtime.runtimes);
  });
  plugins.Table("io.containerd.shim.v1.manager",
                [&](TomlReader& r) { r.AppendStrings("env", &config->runtime.shim_env); });
  plugins.Table("io.containerd.metadata.v1.bolt", [&](TomlReader& r) {
    r.OneOf("content_sharing_policy", {"shared", "isolated"}, &config->content_sharing_policy);
    r.Ignore("no_sync");
  });
  plugins.Table("io.containerd.internal.v1.opt", [&](TomlReader& r) { r.String("path", &config->opt_path); });
  plugins.Table("io.containerd.snapshotter.v1.overlayfs",
                [&](TomlReader& r) { ReadSnapshotter(r, &config->overlayfs); });
  plugins.Table("io.containerd.snapshotter.v1.native",
                [&](TomlReader& r) { r.String("root_path", &config->native.root_path); });
  for (const char* restart :
       {"io.containerd.internal.v1.restart", "io.containerd.monitor.container.v1.restart"}) {
    plugins.Table(restart, [&](TomlReader& r) { r.Duration("interval", &config->restart_interval); });
  }
  plugins.Table("io.containerd.service.v1.diff-service", [&](TomlReader& r) {
    r.Ignore("default");
    r.Ignore("sync_fs");
  });
  for (const char* key :
       {"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime", "io.containerd.cri.v1.images",
        "io.containerd.transfer.v1.local", "io.containerd.nri.v1.nri", "io.containerd.snapshotter.v1.btrfs",
        "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.erofs",
        "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.blockfile",
        "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
        "io.containerd.monitor.task.v1.cgroups", "io.containerd.monitor.v1.cgroups",
        "io.containerd.service.v1.tasks-service", "io.containerd.image-verifier.v1.bindir",
        "io.containerd.differ.v1.erofs"}) {
    plugins.NotBuilt(key);
  }
}

void ReadProxies(TomlReader& top, Config* config) {
  top.EachTable("proxy_plugins", [config](const std::string& name, TomlReader& r) {
    ProxyPlugin& plugin = config->proxy_plugins[name];
    r.OneOf("type", {"", "snapshot", "content", "diff", "sandbox"}, &plugin.type);
    r.String("address", &plugin.address);
    r.String("platform", &plugin.platform);
    r.StringMap("exports", &plugin.exports);
    r.AppendStrings("capabilities", &plugin.capabilities);
  });
  top.EachTable("stream_processors", [config](const std::string& name, TomlReader& r) {
    StreamProcessor& processor = config->stream_processors[name];
    r.AppendStrings("accepts", &processor.accepts);
    r.String("returns", &processor.returns);
    r.String("path", &processor.path);
    r.AppendStrings("args", &processor.args);
    r.AppendStrings("env", &processor.env);
  });
}

void ReadTop(TomlReader& top, Config* config) {
  top.Int("version", kOldestVersion, kNewestVersion, &config->version);
  top.String("root", &config->root);
  top.String("state", &config->state);
  top.String("temp", &config->temp);
  top.Ignore("plugin_dir");
  top.Int("oom_score", -1000, 1000, &config->oom_score);
  top.AppendStrings("imports", &config->imports);
  top.AppendStrings("disabled_plugins", &config->disabled_plugins);
  top.AppendStrings("required_plugins", &config->required_plugins);
  top.Table("grpc", [&](TomlReader& r) { ReadGrpc(r, &config->grpc); });
  top.Table("ttrpc", [&](TomlReader& r) { ReadSocket(r, &config->ttrpc); });
  top.Table("debug", [&](TomlReader& r) { ReadDebug(r, &config->debug); });
  top.Table("metrics", [&](TomlReader& r) { ReadMetrics(r, &config->metrics); });
  top.Table("cgroup", [&](TomlReader& r) { r.String("path", &config->cgroup_path); });
  top.Table("timeouts", [&](TomlReader& r) { ReadTimeouts(r, &config->timeouts); });
  top.Table("plugins", [&](TomlReader& r) { ReadPlugins(r, config); });
  ReadProxies(top, config);
}

}  // namespace

absl::Status Parse(absl::string_view text, const std::string& file, Config* config,
                   std::vector<std::string>* warnings) {
  const toml::parse_result parsed = toml::parse(std::string(text), file);
  if (!parsed) {
    const toml::parse_error& error = parsed.error();
    const auto what = error.description();
    return absl::InvalidArgumentError(absl::StrCat(file, ":", error.source().begin.line, ": not valid TOML: ",
                                                   absl::string_view(what.data(), what.size())));
  }
  TomlReader::Sink sink{file, absl::OkStatus(), warnings};
  TomlReader top(&parsed.table(), "", &sink);
  ReadTop(top, config);
  top.WarnOfRest();
  return sink.error;
}

}  // namespace gantry::config
