#include "daemon/wiring/daemon.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "api/proto/containerd/services/mounts/v1/mounts.grpc.pb.h"
#include "api/proto/containerd/services/transfer/v1/transfer.grpc.pb.h"
#include "daemon/server/listener.h"
#include "daemon/server/server.h"
#include "daemon/services/events_service.h"
#include "daemon/services/introspection_service.h"
#include "daemon/services/streaming_service.h"
#include "daemon/services/version_service.h"
#include "daemon/wiring/core.h"
#include "daemon/wiring/directories.h"
#include "daemon/wiring/notify.h"
#include "daemon/wiring/plugins.h"
#include "daemon/wiring/revision.h"
#include "daemon/wiring/runtime.h"
#include "daemon/wiring/storage.h"
#include "runtime/sys/event_loop.h"
#include "runtime/sys/file.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"
#include "runtime/sys/unique_fd.h"

namespace gantry::wiring {
namespace {

constexpr int kRecordThreads = 4;
constexpr int kBulkThreads = 4;
// What running calls get after SIGTERM; streams and waits are ended at once.
constexpr absl::Duration kGrace = absl::Seconds(5);

absl::StatusOr<sys::UniqueFd> TakeSignals() {
  signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  if (sigprocmask(SIG_BLOCK, &set, nullptr) != 0) return sys::ErrnoStatus("sigprocmask", "");
  sys::UniqueFd fd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd.valid()) return sys::ErrnoStatus("signalfd", "");
  return fd;
}

void SetOomScore(int score) {
  if (score == 0) return;
  const absl::Status status =
      sys::WriteControlFile(AT_FDCWD, "/proc/self/oom_score_adj", absl::StrCat(score));
  if (!status.ok()) log::Warn("cannot set oom_score", {{"error", status.ToString()}});
}

}  // namespace

struct Daemon::State {
  explicit State(const config::Config& c) : config(c) {}

  config::Config config;
  std::optional<DirectoryLock> root_lock;
  std::optional<DirectoryLock> state_lock;
  sys::UniqueFd signals;
  std::unique_ptr<sys::EventLoop> loop;
  events::Exchange exchange;
  // Destroyed in reverse: first the server, so that no call comes any more, then the services, then the workers,
  // and what all of them worked on.
  std::unique_ptr<Storage> storage;
  std::unique_ptr<Runtime> runtime;
  std::optional<server::WorkerPool> records;
  std::optional<server::WorkerPool> bulk;
  Services services;
  services::EventsService* events = nullptr;
  services::StreamingService* streaming = nullptr;
  std::unique_ptr<server::Server> server;
  std::thread stopper;

  absl::Status Prepare();
  absl::Status Serve();
  void Stop();
};

absl::Status Daemon::State::Prepare() {
  GANTRY_ASSIGN_OR_RETURN(root_lock, DirectoryLock::Acquire("root", config.root, 0700));
  GANTRY_ASSIGN_OR_RETURN(state_lock, DirectoryLock::Acquire("state", config.state, 0711));
  GANTRY_ASSIGN_OR_RETURN(signals, TakeSignals());
  GANTRY_ASSIGN_OR_RETURN(loop, sys::EventLoop::Create());
  SetOomScore(config.oom_score);
  return loop->Add(signals.get(), EPOLLIN, [this](uint32_t) {
    signalfd_siginfo info;
    while (read(signals.get(), &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) Stop();
  });
}

absl::Status Daemon::State::Serve() {
  const config::Socket& socket = config.grpc.socket;
  // Before the first thread: the umask is changed meanwhile.
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd listening,
                          server::ListenAt({socket.address, 0660, socket.uid, socket.gid}));
  auto listener = std::make_unique<server::Listener>(loop.get(), std::move(listening), socket.address);
  GANTRY_ASSIGN_OR_RETURN(sys::UniqueFd event_socket, server::ListenAt({config.TtrpcAddress(), 0600,
                                                                        config.ttrpc.uid, config.ttrpc.gid}));

  records.emplace("records", kRecordThreads);
  bulk.emplace("bulk", kBulkThreads);
  Core core{&config, loop.get(), &*records, &*bulk, &exchange, {}};
  GANTRY_ASSIGN_OR_RETURN(std::string uuid, LoadUuid(config.root));

  core.plugins.push_back(Plugin(kEventPlugin, "exchange"));
  core.plugins.push_back(Plugin(kGrpcPlugin, "healthcheck"));
  AddServicePlugins("introspection", &core.plugins);
  core.plugins.push_back(Plugin(kGrpcPlugin, "events"));
  core.plugins.push_back(Plugin(kGrpcPlugin, "version"));
  core.plugins.push_back(Plugin(kStreamingPlugin, "manager"));
  core.plugins.push_back(Plugin(kGrpcPlugin, "streaming"));

  GANTRY_ASSIGN_OR_RETURN(storage, MakeStorage(core, &services));
  GANTRY_ASSIGN_OR_RETURN(runtime, MakeRuntime(core, storage.get(), std::move(event_socket), &services));

  auto events_service = std::make_unique<services::EventsService>(&exchange);
  events = events_service.get();
  services.push_back(std::move(events_service));
  auto streaming_service = std::make_unique<services::StreamingService>();
  streaming = streaming_service.get();
  services.push_back(std::move(streaming_service));
  services.push_back(std::make_unique<services::VersionService>(GANTRY_VERSION, Revision()));
  // Not built yet: every method answers UNIMPLEMENTED, which clients take for "this daemon has none".
  services.push_back(std::make_unique<containerd::services::mounts::v1::Mounts::CallbackService>());
  services.push_back(std::make_unique<containerd::services::transfer::v1::Transfer::CallbackService>());
  // Last: by now every part has told its name.
  services.push_back(std::make_unique<services::IntrospectionService>(core.plugins, std::move(uuid), &*bulk));

  std::vector<grpc::Service*> pointers;
  for (const auto& service : services) pointers.push_back(service.get());
  server::ServerOptions options;
  options.max_receive_bytes = config.grpc.max_recv_message_bytes;
  options.max_send_bytes = config.grpc.max_send_message_bytes;
  GANTRY_ASSIGN_OR_RETURN(server, server::Server::Start(std::move(listener), options, pointers));
  return absl::OkStatus();
}

void Daemon::State::Stop() {
  if (stopper.joinable()) return;
  log::Info("stopping; containers go on running");
  if (absl::Status status = NotifySystemd("STOPPING=1"); !status.ok()) {
    log::Warn("cannot tell systemd", {{"error", status.ToString()}});
  }
  server->StopAccepting();
  events->Stop();
  streaming->Stop();
  runtime->manager->Stop();
  runtime->sandboxes->Stop();
  // Off the loop's thread: calls that still run need the loop.
  stopper = std::thread([this] {
    server->Shutdown(kGrace);
    loop->Post([this] { loop->Stop(); });
  });
}

Daemon::Daemon(std::unique_ptr<State> state) : state_(std::move(state)) {}

Daemon::~Daemon() {
  if (state_->stopper.joinable()) state_->stopper.join();
}

absl::StatusOr<std::unique_ptr<Daemon>> Daemon::Create(const config::Config& config) {
  auto state = std::make_unique<State>(config);
  GANTRY_RETURN_IF_ERROR(state->Prepare());
  GANTRY_RETURN_IF_ERROR(state->Serve());
  return std::unique_ptr<Daemon>(new Daemon(std::move(state)));
}

absl::Status Daemon::Run() {
  log::Info("serving", {{"address", state_->config.grpc.socket.address},
                        {"root", state_->config.root},
                        {"state", state_->config.state},
                        {"version", GANTRY_VERSION}});
  if (absl::Status status = NotifySystemd("READY=1"); !status.ok()) {
    log::Warn("cannot tell systemd", {{"error", status.ToString()}});
  }
  absl::Status status = state_->loop->Run();
  log::Info("stopped");
  return status;
}

}  // namespace gantry::wiring
