#include "test/client/client.h"

#include <poll.h>

#include <atomic>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "api/proto/containerd/events/task.pb.h"
#include "runtime/oci/spec.h"

namespace gantry::client {
namespace {

namespace containers = ::containerd::services::containers::v1;
namespace events = ::containerd::services::events::v1;
namespace snapshots = ::containerd::services::snapshots::v1;
namespace tasks = ::containerd::services::tasks::v1;

constexpr char kSnapshotter[] = "overlayfs";
constexpr char kMarker[] = "/tests/ready";

std::shared_ptr<grpc::Channel> Connect(const std::string& socket) {
  grpc::ChannelArguments arguments;
  arguments.SetString(GRPC_ARG_DEFAULT_AUTHORITY, "localhost");
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  return grpc::CreateCustomChannel(absl::StrCat("unix:", socket), grpc::InsecureChannelCredentials(),
                                   arguments);
}

int64_t Nanos(const google::protobuf::Timestamp& time) {
  return time.seconds() * 1'000'000'000 + time.nanos();
}

Process FromTask(const containerd::v1::types::Process& task) {
  Process process;
  process.container_id = task.container_id().empty() ? task.id() : task.container_id();
  process.id = task.id();
  process.pid = task.pid();
  process.exit_status = task.exit_status();
  process.exited_at_ns = Nanos(task.exited_at());
  process.status = containerd::v1::types::Status_Name(task.status());
  return process;
}

std::string SpecFor(const std::string& ns, const std::string& id, const std::vector<std::string>& args) {
  oci::Spec spec = oci::DefaultSpec();
  spec.process->terminal = false;
  spec.process->args = args;
  spec.root->path = "rootfs";
  spec.linux->cgroups_path = absl::StrCat("/", ns, "/", id);
  spec.linux->seccomp.reset();
  return oci::ToJson(spec);
}

}  // namespace

Client::Connection::Connection(const std::string& socket)
    : channel(Connect(socket)),
      containers(channel),
      events(channel),
      sandboxes(channel),
      controller(channel),
      snapshots(channel),
      tasks(channel) {}

Client::Client(Options options) : options_(std::move(options)) {}

std::shared_ptr<Client::Connection> Client::Connected() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (connection_ == nullptr) connection_ = std::make_shared<Connection>(options_.socket);
  return connection_;
}

void Client::Drop(const std::shared_ptr<Connection>& connection) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (connection_ == connection) connection_.reset();
}

void Client::Mark(grpc::ClientContext* context, bool limited) const {
  context->AddMetadata("containerd-namespace", options_.ns);
  if (limited) {
    context->set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(options_.patience));
  }
}

// ---- snapshots and records -------------------------------------------------------------------------------

grpc::Status Client::Prepare(const std::string& id, const std::string& parent) {
  snapshots::PrepareSnapshotRequest request;
  snapshots::PrepareSnapshotResponse response;
  request.set_snapshotter(kSnapshotter);
  request.set_key(id);
  request.set_parent(parent);
  (*request.mutable_labels())["containerd.io/gc.root"] = "test";
  const grpc::Status status =
      Call(&Connection::snapshots, &snapshots::Snapshots::Stub::Prepare, request, &response);
  if (status.ok()) {
    const std::lock_guard<std::mutex> lock(mutex_);
    prepared_[id] = response.mounts();
  }
  return status;
}

grpc::Status Client::FindMounts(const std::string& id, Mounts* mounts) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (const auto it = prepared_.find(id); it != prepared_.end()) {
      *mounts = it->second;
      return grpc::Status::OK;
    }
  }
  snapshots::MountsRequest request;
  snapshots::MountsResponse response;
  request.set_snapshotter(kSnapshotter);
  request.set_key(id);
  const grpc::Status status =
      Call(&Connection::snapshots, &snapshots::Snapshots::Stub::Mounts, request, &response);
  *mounts = response.mounts();
  return status;
}

grpc::Status Client::Unprepare(const std::string& id) {
  snapshots::RemoveSnapshotRequest request;
  google::protobuf::Empty nothing;
  request.set_snapshotter(kSnapshotter);
  request.set_key(id);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    prepared_.erase(id);
  }
  return Call(&Connection::snapshots, &snapshots::Snapshots::Stub::Remove, request, &nothing);
}

grpc::Status Client::Snapshots(std::vector<std::string>* keys) {
  grpc::ClientContext context;
  Mark(&context, true);
  snapshots::ListSnapshotsRequest request;
  request.set_snapshotter(kSnapshotter);
  const std::shared_ptr<Connection> connection = Connected();
  const auto stream = connection->snapshots.List(&context, request);
  snapshots::ListSnapshotsResponse page;
  while (stream->Read(&page)) {
    for (const auto& info : page.info()) keys->push_back(info.name());
  }
  const grpc::Status status = stream->Finish();
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE) Drop(connection);
  return status;
}

grpc::Status Client::Record(const std::string& id, const std::vector<std::string>& args,
                            const std::string& sandbox) {
  containers::CreateContainerRequest request;
  containers::CreateContainerResponse response;
  auto* container = request.mutable_container();
  container->set_id(id);
  container->mutable_runtime()->set_name(options_.runtime);
  container->mutable_spec()->set_type_url("types.containerd.io/opencontainers/runtime-spec/1/Spec");
  container->mutable_spec()->set_value(SpecFor(options_.ns, id, args));
  container->set_snapshotter(kSnapshotter);
  container->set_snapshot_key(id);
  container->set_sandbox(sandbox);
  return Call(&Connection::containers, &containers::Containers::Stub::Create, request, &response);
}

grpc::Status Client::Unrecord(const std::string& id) {
  containers::DeleteContainerRequest request;
  google::protobuf::Empty nothing;
  request.set_id(id);
  return Call(&Connection::containers, &containers::Containers::Stub::Delete, request, &nothing);
}

grpc::Status Client::Records(std::vector<std::string>* ids) {
  containers::ListContainersRequest request;
  containers::ListContainersResponse response;
  const grpc::Status status =
      Call(&Connection::containers, &containers::Containers::Stub::List, request, &response);
  for (const auto& container : response.containers()) ids->push_back(container.id());
  return status;
}

grpc::Status Client::CountRecords(const std::string& filter, size_t* count) {
  const std::shared_ptr<Connection> connection = Connected();
  grpc::ClientContext context;
  Mark(&context, true);
  containers::ListContainersRequest request;
  if (!filter.empty()) request.add_filters(filter);
  const auto stream = connection->containers.ListStream(&context, request);
  containers::ListContainerMessage message;
  *count = 0;
  while (stream->Read(&message)) ++*count;
  return stream->Finish();
}

// ---- tasks -----------------------------------------------------------------------------------------------

grpc::Status Client::Create(const std::string& id, const std::string& out, Process* process) {
  tasks::CreateTaskRequest request;
  tasks::CreateTaskResponse response;
  grpc::Status status = FindMounts(id, request.mutable_rootfs());
  if (!status.ok()) return status;
  request.set_container_id(id);
  request.set_stdout(out);
  request.set_stderr(out);
  status = Call(&Connection::tasks, &tasks::Tasks::Stub::Create, request, &response);
  process->pid = response.pid();
  return status;
}

grpc::Status Client::Start(const std::string& id, const std::string& exec_id, Process* process) {
  tasks::StartRequest request;
  tasks::StartResponse response;
  request.set_container_id(id);
  request.set_exec_id(exec_id);
  const grpc::Status status = Call(&Connection::tasks, &tasks::Tasks::Stub::Start, request, &response);
  process->pid = response.pid();
  return status;
}

grpc::Status Client::Kill(const std::string& id, const std::string& exec_id, uint32_t signal) {
  tasks::KillRequest request;
  google::protobuf::Empty nothing;
  request.set_container_id(id);
  request.set_exec_id(exec_id);
  request.set_signal(signal);
  return Call(&Connection::tasks, &tasks::Tasks::Stub::Kill, request, &nothing);
}

grpc::Status Client::Wait(const std::string& id, const std::string& exec_id, Process* process) {
  tasks::WaitRequest request;
  tasks::WaitResponse response;
  request.set_container_id(id);
  request.set_exec_id(exec_id);
  const grpc::Status status = Call(&Connection::tasks, &tasks::Tasks::Stub::Wait, request, &response);
  process->exit_status = response.exit_status();
  process->exited_at_ns = Nanos(response.exited_at());
  return status;
}

grpc::Status Client::Delete(const std::string& id, const std::string& exec_id, Process* process) {
  tasks::DeleteResponse response;
  grpc::Status status;
  if (exec_id.empty()) {
    tasks::DeleteTaskRequest request;
    request.set_container_id(id);
    status = Call(&Connection::tasks, &tasks::Tasks::Stub::Delete, request, &response);
  } else {
    tasks::DeleteProcessRequest request;
    request.set_container_id(id);
    request.set_exec_id(exec_id);
    status = Call(&Connection::tasks, &tasks::Tasks::Stub::DeleteProcess, request, &response);
  }
  process->pid = response.pid();
  process->exit_status = response.exit_status();
  process->exited_at_ns = Nanos(response.exited_at());
  return status;
}

grpc::Status Client::Exec(const std::string& id, const std::string& exec_id,
                          const std::vector<std::string>& args) {
  oci::Process process = *oci::DefaultSpec().process;
  process.terminal = false;
  process.args = args;
  tasks::ExecProcessRequest request;
  google::protobuf::Empty nothing;
  request.set_container_id(id);
  request.set_exec_id(exec_id);
  request.mutable_spec()->set_type_url("types.containerd.io/opencontainers/runtime-spec/1/Process");
  request.mutable_spec()->set_value(oci::ToJson(process));
  return Call(&Connection::tasks, &tasks::Tasks::Stub::Exec, request, &nothing);
}

grpc::Status Client::State(const std::string& id, const std::string& exec_id, Process* process) {
  tasks::GetRequest request;
  tasks::GetResponse response;
  request.set_container_id(id);
  request.set_exec_id(exec_id);
  const grpc::Status status = Call(&Connection::tasks, &tasks::Tasks::Stub::Get, request, &response);
  if (status.ok()) *process = FromTask(response.process());
  return status;
}

grpc::Status Client::List(std::vector<Process>* processes) {
  tasks::ListTasksRequest request;
  tasks::ListTasksResponse response;
  const grpc::Status status = Call(&Connection::tasks, &tasks::Tasks::Stub::List, request, &response);
  for (const auto& task : response.tasks()) processes->push_back(FromTask(task));
  return status;
}

// ---- events ----------------------------------------------------------------------------------------------

grpc::Status Client::WatchExits(const std::function<void()>& ready,
                                const std::function<bool(const Process&)>& on_exit) {
  grpc::ClientContext context;
  Mark(&context, false);
  events::SubscribeRequest request;
  request.add_filters(absl::StrCat("namespace==", options_.ns, ",topic==\"/tasks/exit\""));
  request.add_filters(absl::StrCat("namespace==", options_.ns, ",topic==\"", kMarker, "\""));
  const std::shared_ptr<Connection> connection = Connected();
  const auto stream = connection->events.Subscribe(&context, request);
  // A daemon may answer a subscription with its first event only: events are sent until one comes back.
  std::atomic<bool> is_ready = false;
  std::thread caller([&] {
    events::PublishRequest marker;
    google::protobuf::Empty nothing;
    marker.set_topic(kMarker);
    // containerd wants an event of a type that it knows.
    marker.mutable_event()->set_type_url("containerd.events.TaskPaused");
    while (!is_ready) {
      Call(&Connection::events, &events::Events::Stub::Publish, marker, &nothing);
      poll(nullptr, 0, 5);
    }
  });
  containerd::types::Envelope envelope;
  bool wanted = true;
  while (wanted && stream->Read(&envelope)) {
    if (envelope.topic() == kMarker) {
      if (!is_ready.exchange(true)) ready();
      continue;
    }
    containerd::events::TaskExit exit;
    if (!exit.ParseFromString(envelope.event().value())) continue;
    wanted = on_exit({.container_id = exit.container_id(),
                      .id = exit.id(),
                      .pid = exit.pid(),
                      .exit_status = exit.exit_status(),
                      .exited_at_ns = Nanos(exit.exited_at()),
                      .status = ""});
  }
  is_ready = true;
  caller.join();
  context.TryCancel();
  const grpc::Status status = stream->Finish();
  return wanted ? status : grpc::Status::OK;
}

}  // namespace gantry::client
