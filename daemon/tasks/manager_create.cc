// How a task comes to be: the worker's part (records, files, spawn), then the loop's (the shim's answer).
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "api/any/any.h"
#include "daemon/tasks/creation.h"
#include "daemon/tasks/group.h"
#include "daemon/tasks/manager.h"
#include "daemon/tasks/runtime_name.h"
#include "daemon/tasks/shim_command.h"
#include "runtime/sys/file.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry::tasks {
namespace {

// A foreign shim's `start` execs itself, and may do a lot; containerd sets no limit at all.
constexpr absl::Duration kStartTimeout = absl::Seconds(30);
constexpr size_t kMostSaid = 64 << 10;

std::string Directory(const std::string& path) { return path.substr(0, path.rfind('/')); }

}  // namespace

std::shared_ptr<Manager::Ticket> Manager::CreateTask(const TaskKey& key, NewTask what, CreateCallback done) {
  auto ticket = std::make_shared<Ticket>();
  const TaskPtr existing = Find(key);
  if (existing != nullptr && (existing->phase == Phase::kEnding || existing->phase == Phase::kLoading)) {
    existing->when_settled.push_back(
        [this, key, what = std::move(what), done = std::move(done)] { CreateTask(key, what, done); });
    return ticket;
  }
  if (existing != nullptr) {
    done(absl::AlreadyExistsError(absl::StrCat("task ", key.id, " in namespace ", key.ns)));
    return ticket;
  }
  auto creation = std::make_shared<Creation>();
  creation->task = std::make_shared<Task>(key);
  creation->ticket = ticket;
  creation->what = std::move(what);
  creation->done = std::move(done);
  tasks_.emplace(key, creation->task);
  parts_.records->Submit([this, creation]() mutable {
    absl::Status prepared = Prepare(creation.get());
    parts_.loop->Post([this, creation = std::move(creation), prepared = std::move(prepared)] {
      Launch(creation, prepared);
    });
  });
  return ticket;
}

void Manager::Abandon(const TaskKey& key, const std::shared_ptr<Ticket>& ticket) {
  ticket->abandoned = true;
  const TaskPtr task = Find(key);
  // A hung shim would keep the creation for ever: its connection is cut, which ends the call.
  if (task != nullptr && task->phase == Phase::kCreating && task->client != nullptr) task->client->Close();
  if (task != nullptr && task->phase == Phase::kCreating && task->cancel_start) task->cancel_start();
}

absl::Status Manager::Prepare(Creation* creation) {
  const TaskPtr& task = creation->task;
  GANTRY_ASSIGN_OR_RETURN(const ContainerRecord record, parts_.lookup(task->key));
  const std::string& runtime =
      creation->what.runtime_path.empty() ? record.runtime : creation->what.runtime_path;
  GANTRY_ASSIGN_OR_RETURN(const std::string program, ShimProgram(runtime, options_.runtime.runtimes));
  absl::StatusOr<std::string> binary =
      FindProgram(program, options_.path, Directory(options_.host.daemon_binary));
  if (!binary.ok()) return sys::Annotate(binary.status(), absl::StrCat("runtime \"", runtime, "\""));
  task->binary = *binary;
  GANTRY_RETURN_IF_ERROR(MakeBundle(creation, record));
  if (!record.sandbox.empty()) {
    creation->sandbox = record.sandbox;
    return bundles_.WriteSandbox(task->key, record.sandbox);
  }
  if (!IsOurShim(task->binary)) {
    GANTRY_ASSIGN_OR_RETURN(task->log, MakeShimLog(bundles_.Path(task->key)));
    return absl::OkStatus();
  }
  creation->group = GroupOf(record.spec.value());
  GANTRY_ASSIGN_OR_RETURN(task->socket_path,
                          bundles_.SocketPath(task->key, options_.host.grpc_address, creation->group));
  task->bootstrap = {3, absl::StrCat("unix://", task->socket_path), "ttrpc"};
  GANTRY_RETURN_IF_ERROR(bundles_.WriteBootstrap(task->key, task->bootstrap));
  // The loop knows whether the group has a shim.
  if (!creation->group.empty()) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(creation->process, SpawnOurs(task, /*init_fd=*/-1));
  return absl::OkStatus();
}

absl::Status Manager::MakeBundle(Creation* creation, const ContainerRecord& record) {
  const TaskPtr& task = creation->task;
  if (record.spec.value().empty() ||
      any::BareName(record.spec.type_url()) != any::BareName(any::kRuntimeSpec)) {
    return absl::InvalidArgumentError(
        absl::StrCat("container ", task->key.id, " has no OCI runtime specification: its spec is of type \"",
                     record.spec.type_url(), "\""));
  }
  shim::CreateTaskRequest& request = creation->what.request;
  GANTRY_RETURN_IF_ERROR(bundles_.Create(task->key, record.spec.value(), !IsOurShim(task->binary)));
  if (creation->what.unpack_checkpoint != nullptr) {
    GANTRY_ASSIGN_OR_RETURN(const std::string directory, bundles_.MakeCheckpoint(task->key));
    GANTRY_RETURN_IF_ERROR(creation->what.unpack_checkpoint(directory));
    request.set_checkpoint(directory);
  }
  request.set_id(task->key.id);
  request.set_bundle(bundles_.Path(task->key));
  if (!request.has_options() && !record.runtime_options.type_url().empty()) {
    *request.mutable_options() = record.runtime_options;
  }
  creation->runtime_options = record.runtime_options;
  return bundles_.WriteBinary(task->key, task->binary);
}

sys::SpawnOptions Manager::SpawnFor(const Task& task, ShimAction action) const {
  return ShimSpawn(options_.host, task.binary, task.key, bundles_.Path(task.key), action);
}

absl::StatusOr<sys::PidFd> Manager::SpawnOurs(const TaskPtr& task, int init_fd) {
  return SpawnServing(options_.host, task->binary, task->key, bundles_.Path(task->key), task->socket_path,
                      init_fd);
}

void Manager::Launch(std::shared_ptr<Creation> creation, absl::Status prepared) {
  const TaskPtr& task = creation->task;
  Watch(task, std::move(creation->process));
  if (!prepared.ok()) return FailCreate(creation, prepared);
  if (!creation->sandbox.empty()) return JoinSandbox(creation);
  if (task->socket_path.empty()) return StartForeign(creation);
  if (!creation->group.empty()) return JoinGroup(creation);
  ConnectAndCreate(creation);
}

void Manager::ConnectAndCreate(std::shared_ptr<Creation> creation) {
  const TaskPtr& task = creation->task;
  task->address = task->bootstrap.address;
  if (absl::Status status = Connect(task); !status.ok()) return FailCreate(creation, status);
  SendCreate(creation);
}

void Manager::StartForeign(std::shared_ptr<Creation> creation) {
  DrainLog(creation->task);
  AskStart(creation);
}

void Manager::AskStart(std::shared_ptr<Creation> creation) {
  const TaskPtr& task = creation->task;
  // Shims of containerd 1.7 to 2.2 take the options as they are; older ones don't look, newer ones understand both.
  std::string input;
  if (!creation->runtime_options.type_url().empty()) input = creation->runtime_options.SerializeAsString();
  task->cancel_start = RunShimCommand(
      parts_.loop, SpawnFor(*task, ShimAction::kStart), std::move(input), kStartTimeout,
      [this, creation](absl::StatusOr<std::string> answer) {
        const TaskPtr& task = creation->task;
        absl::StatusOr<Bootstrap> bootstrap =
            answer.ok() ? ParseBootstrap(*answer) : absl::StatusOr<Bootstrap>(answer.status());
        absl::Status status = bootstrap.status();
        if (status.ok()) {
          task->bootstrap = *bootstrap;
          if (WaitForDeparting(creation)) return;
          task->address = task->bootstrap.address;
          status = bundles_.WriteBootstrap(task->key, task->bootstrap);
        }
        if (status.ok()) status = Connect(task);
        if (!status.ok()) {
          return FailCreate(creation,
                            sys::Annotate(status, absl::StrCat("starting the shim ", task->binary)));
        }
        SendCreate(creation);
      });
}

absl::Status Manager::Connect(const TaskPtr& task) {
  GANTRY_ASSIGN_OR_RETURN(task->client, ttrpc::Client::Connect(parts_.loop, task->bootstrap.address));
  task->client->OnClose([this, weak = std::weak_ptr<Task>(task)](const absl::Status&) {
    if (const TaskPtr task = weak.lock()) OnShimGone(task);
  });
  return absl::OkStatus();
}

void Manager::Watch(const TaskPtr& task, sys::PidFd process) {
  if (!process.valid()) return;
  // It may be known already, or be that of the shim before: a descriptor that is closed in the loop would be found there
  // by the next one of its number.
  if (task->process.valid()) parts_.loop->Remove(task->process.fd());
  task->process = sys::PidFd();
  const absl::Status status =
      parts_.loop->Add(process.fd(), EPOLLIN, [this, weak = std::weak_ptr<Task>(task)](uint32_t) {
        if (const TaskPtr task = weak.lock()) OnProcessEnd(task);
      });
  // Unwatched, its end is still seen by the end of its connection.
  if (status.ok()) task->process = std::move(process);
}

void Manager::OnProcessEnd(const TaskPtr& task) {
  parts_.loop->Remove(task->process.fd());
  const absl::StatusOr<sys::ExitStatus> end = task->process.ExitInfo();
  task->shim_killed = end.ok() && end->signaled && end->value == SIGKILL;
  task->process = sys::PidFd();
  if (task->phase == Phase::kCreating) {
    const absl::StatusOr<std::string> said =
        sys::ReadFileAt(AT_FDCWD, absl::StrCat(bundles_.Path(task->key), "/shim.log"), kMostSaid, O_NOFOLLOW);
    task->last_words = absl::StrCat("the shim ended: ", said.ok() ? absl::StripAsciiWhitespace(*said) : "");
  }
  if (task->client == nullptr) return;
  if (task->client->closed()) {
    task->disconnected = true;
    OnShimGone(task);
  } else {
    task->client->Close();  // what is left of it may still hold the connection
  }
}

void Manager::DrainLog(const TaskPtr& task) {
  if (!task->log.valid()) return;
  const absl::Status status =
      parts_.loop->Add(task->log.get(), EPOLLIN, [weak = std::weak_ptr<Task>(task)](uint32_t) {
        if (const TaskPtr task = weak.lock()) CopyShimLog(task->log.get());
      });
  if (!status.ok())
    log::Warn("cannot read a shim's messages", {{"id", task->key.id}, {"error", status.ToString()}});
}

void Manager::SendCreate(std::shared_ptr<Creation> creation) {
  if (creation->ticket->abandoned) {
    return FailCreate(creation, absl::CancelledError("the client went away"));
  }
  CallShim(creation->task, "Create", creation->what.request.SerializeAsString(), absl::InfiniteDuration(),
           [this, creation](absl::StatusOr<std::string> answer) { OnCreated(creation, std::move(answer)); });
}

void Manager::OnCreated(std::shared_ptr<Creation> creation, absl::StatusOr<std::string> answer) {
  const TaskPtr& task = creation->task;
  shim::CreateTaskResponse response;
  if (answer.ok() && !response.ParseFromString(*answer)) {
    answer = absl::InternalError("the shim's answer to Create is damaged");
  }
  if (answer.ok() && creation->ticket->abandoned) answer = absl::CancelledError("the client went away");
  if (absl::IsUnavailable(answer.status()) && (task->client == nullptr || task->client->closed())) {
    answer = absl::UnknownError(
        absl::StrCat("the shim of task ", task->key.id, " has ended: ", answer.status().message()));
  }
  if (!answer.ok()) return FailCreate(creation, answer.status());
  task->pid = response.pid();
  task->phase = Phase::kLive;
  if (!IsOurShim(task->binary)) bundles_.ClearCreating(task->key);
  log::Debug("task created", {{"ns", task->key.ns}, {"id", task->key.id}, {"pid", absl::StrCat(task->pid)}});
  creation->done(task->pid);
  HoldInit(task);
  // One that it joined: its end is to be seen as soon as that of its own.
  if (!task->process.valid() && (task->sandboxed || !creation->group.empty())) AskProcess(task);
  Settle(task);
}

void Manager::FailCreate(std::shared_ptr<Creation> creation, absl::Status status) {
  const TaskPtr& task = creation->task;
  if (task->phase == Phase::kEnding) return;
  BeginEnd(task);
  if (!task->last_words.empty()) status = absl::UnknownError(task->last_words);
  auto finish = [this, creation, status] {
    Bury(creation->task);
    creation->done(status);
  };
  // Only a shim that existed can have left something behind.
  if (task->bootstrap.address.empty() && !task->log.valid()) return finish();
  EndShim(task,
          [this, task, finish] { RunDelete(task, [finish](const shim::DeleteResponse&) { finish(); }); });
}

}  // namespace gantry::tasks
