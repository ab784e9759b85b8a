#include "cmd/gantry/client/container_store.h"

#include <signal.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "runtime/sys/status.h"

namespace gantry::cli {
namespace {

absl::Status IgnoreMissing(const absl::Status& status) {
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

absl::Status DeleteTask(Client* client, const std::string& id) {
  tasks::DeleteTaskRequest request;
  tasks::DeleteResponse response;
  request.set_container_id(id);
  return IgnoreMissing(client->Call(client->tasks(), &tasks::Tasks::Stub::Delete, request, &response));
}

// A kill is seen by the daemon when the kernel reports the end; that is waited for, then the task goes.
absl::Status KillAndDelete(Client* client, const std::string& id) {
  tasks::KillRequest request;
  google::protobuf::Empty response;
  request.set_container_id(id);
  request.set_signal(SIGKILL);
  request.set_all(true);
  const absl::Status killed = client->Call(client->tasks(), &tasks::Tasks::Stub::Kill, request, &response);
  if (killed.ok()) {
    GANTRY_RETURN_IF_ERROR(IgnoreMissing(WaitTask(client, id, absl::Seconds(30)).status()));
  } else if (!absl::IsNotFound(killed) && !absl::IsFailedPrecondition(killed)) {
    return killed;
  }
  return DeleteTask(client, id);
}

}  // namespace

absl::StatusOr<std::vector<containers::Container>> ListContainers(Client* client) {
  containers::ListContainersRequest request;
  grpc::ClientContext context;
  client->Prepare(&context, kCallTimeout);
  // The streaming call has no limit on how many there are; a single answer may have at most 16 MiB.
  auto reader = client->containers().ListStream(&context, request);
  std::vector<containers::Container> out;
  containers::ListContainerMessage message;
  while (reader->Read(&message)) out.push_back(std::move(*message.mutable_container()));
  GANTRY_RETURN_IF_ERROR(client->Translate(reader->Finish()));
  return out;
}

absl::StatusOr<std::map<std::string, Process>> ListTasks(Client* client) {
  tasks::ListTasksRequest request;
  tasks::ListTasksResponse response;
  GANTRY_RETURN_IF_ERROR(client->Call(client->tasks(), &tasks::Tasks::Stub::List, request, &response));
  std::map<std::string, Process> out;
  for (Process& process : *response.mutable_tasks()) {
    // containerd fills in `id` alone in this answer.
    const std::string& id = process.container_id().empty() ? process.id() : process.container_id();
    out[id] = process;
  }
  return out;
}

absl::StatusOr<containers::Container> FindContainer(Client* client, const std::string& typed) {
  containers::GetContainerRequest request;
  containers::GetContainerResponse response;
  request.set_id(typed);
  const absl::Status status =
      client->Call(client->containers(), &containers::Containers::Stub::Get, request, &response);
  if (status.ok()) return response.container();
  if (!absl::IsNotFound(status) && !absl::IsInvalidArgument(status)) return status;
  GANTRY_ASSIGN_OR_RETURN(std::vector<containers::Container> all, ListContainers(client));
  std::vector<containers::Container> found;
  std::vector<std::string> names;
  for (containers::Container& container : all) {
    if (typed.empty() || !absl::StartsWith(container.id(), typed)) continue;
    names.push_back(container.id());
    found.push_back(std::move(container));
  }
  if (found.size() == 1) return found.front();
  if (found.empty()) {
    return absl::NotFoundError(
        absl::StrCat("there is no container \"", typed, "\" in the namespace \"", client->ns(), "\""));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", typed, "\" is the beginning of several containers: ", absl::StrJoin(names, ", ")));
}

absl::StatusOr<std::optional<Process>> FindTask(Client* client, const std::string& id) {
  tasks::GetRequest request;
  tasks::GetResponse response;
  request.set_container_id(id);
  const absl::Status status = client->Call(client->tasks(), &tasks::Tasks::Stub::Get, request, &response);
  if (absl::IsNotFound(status)) return std::optional<Process>();
  GANTRY_RETURN_IF_ERROR(status);
  return std::optional<Process>(response.process());
}

std::string StateName(const std::optional<Process>& task) {
  if (!task) return "created";
  switch (task->status()) {
    case containerd::v1::types::RUNNING:
      return "running";
    case containerd::v1::types::STOPPED:
      return "exited";
    case containerd::v1::types::PAUSED:
    case containerd::v1::types::PAUSING:
      return "paused";
    case containerd::v1::types::CREATED:
      return "created";
    default:
      return "unknown";
  }
}

absl::Status KillTask(Client* client, const std::string& id, int signal) {
  GANTRY_ASSIGN_OR_RETURN(const std::optional<Process> task, FindTask(client, id));
  const std::string state = StateName(task);
  if (state == "exited" || !task) {
    return absl::FailedPreconditionError(absl::StrCat("container ", id, " is not running, it is ",
                                                      task ? state : "created and was never started"));
  }
  tasks::KillRequest request;
  google::protobuf::Empty response;
  request.set_container_id(id);
  request.set_signal(static_cast<uint32_t>(signal));
  return client->Call(client->tasks(), &tasks::Tasks::Stub::Kill, request, &response);
}

absl::StatusOr<uint32_t> WaitTask(Client* client, const std::string& id, absl::Duration timeout) {
  tasks::WaitRequest request;
  tasks::WaitResponse response;
  request.set_container_id(id);
  GANTRY_RETURN_IF_ERROR(
      client->Call(client->tasks(), &tasks::Tasks::Stub::Wait, request, &response, timeout));
  return response.exit_status();
}

absl::Status RemoveSnapshot(Client* client, const std::string& snapshotter, const std::string& key) {
  if (key.empty()) return absl::OkStatus();
  snapshots::RemoveSnapshotRequest request;
  google::protobuf::Empty response;
  request.set_snapshotter(snapshotter);
  request.set_key(key);
  return IgnoreMissing(
      client->Call(client->snapshots(), &snapshots::Snapshots::Stub::Remove, request, &response));
}

absl::Status RemoveContainer(Client* client, const containers::Container& container, bool force) {
  const std::string& id = container.id();
  GANTRY_ASSIGN_OR_RETURN(const std::optional<Process> task, FindTask(client, id));
  const std::string state = StateName(task);
  if (task && state != "exited" && state != "created" && !force) {
    return absl::FailedPreconditionError(absl::StrCat("container ", id, " is ", state));
  }
  if (task) {
    GANTRY_RETURN_IF_ERROR(state == "exited" ? DeleteTask(client, id) : KillAndDelete(client, id));
  }
  // The record goes last: while it stands, a removal that was cut short can be repeated.
  GANTRY_RETURN_IF_ERROR(RemoveSnapshot(client, container.snapshotter(), container.snapshot_key()));
  const auto log = container.labels().find(kLogLabel);
  if (log != container.labels().end() && !log->second.empty()) ::unlink(log->second.c_str());
  containers::DeleteContainerRequest request;
  google::protobuf::Empty response;
  request.set_id(id);
  return IgnoreMissing(
      client->Call(client->containers(), &containers::Containers::Stub::Delete, request, &response));
}

}  // namespace gantry::cli
