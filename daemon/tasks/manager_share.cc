// Shims that several tasks share: those of a group, and those of a sandbox. Each task has a connection of its own.
//
// The shim of a group belongs to its tasks: the first one starts it, the last one ends it. That of a sandbox belongs to the
// sandbox. Foreign shims group by themselves: their `start` answers with the address of one that runs.
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "daemon/tasks/creation.h"
#include "daemon/tasks/manager.h"
#include "daemon/tasks/runtime_name.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry::tasks {
namespace {

// The first version of the task service whose shims serve sandboxes.
constexpr int kSandboxVersion = 3;

// "ttrpc+unix:///path"
absl::StatusOr<Bootstrap> ParseSandboxAddress(const std::string& text, uint32_t version) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('+', 1));
  if (parts.first != "ttrpc" || parts.second.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("task API address \"", text, "\": ttrpc+unix:// and a path are needed"));
  }
  return Bootstrap{version == 0 ? kSandboxVersion : static_cast<int>(version), parts.second, parts.first};
}

}  // namespace

// Whether others need the task's shim.
bool Manager::IsShared(const Task& task) const {
  if (task.sandboxed) return true;
  if (task.address.empty()) return false;
  for (const auto& [key, other] : tasks_) {
    if (other.get() != &task && other->phase != Phase::kEnding && other->address == task.address) return true;
  }
  return false;
}

void Manager::RemoveSocket(const Task& task) {
  if (!task.socket_path.empty() && !IsShared(task)) unlink(task.socket_path.c_str());
}

void Manager::JoinSandbox(std::shared_ptr<Creation> creation) {
  const TaskPtr& task = creation->task;
  const NewTask& what = creation->what;
  absl::StatusOr<Bootstrap> where = absl::NotFoundError("this daemon has no sandboxes");
  if (!what.sandbox_address.empty()) {
    where = ParseSandboxAddress(what.sandbox_address, what.sandbox_version);
  } else if (parts_.sandboxes) {
    where = parts_.sandboxes({task->key.ns, creation->sandbox});
  }
  if (!where.ok()) {
    return FailCreate(creation,
                      sys::Annotate(where.status(), absl::StrCat("the shim of sandbox ", creation->sandbox)));
  }
  if (where->version < kSandboxVersion) {
    // It knows no sandboxes, but may group: it is asked as for any other task.
    absl::StatusOr<sys::UniqueFd> log = MakeShimLog(bundles_.Path(task->key));
    if (!log.ok()) return FailCreate(creation, log.status());
    task->log = *std::move(log);
    return StartForeign(creation);
  }
  task->sandboxed = true;
  task->bootstrap = *where;
  if (absl::Status status = bundles_.WriteBootstrap(task->key, task->bootstrap); !status.ok()) {
    return FailCreate(creation, status);
  }
  ConnectAndCreate(creation);
}

void Manager::JoinGroup(std::shared_ptr<Creation> creation) {
  const TaskPtr& task = creation->task;
  task->address = task->bootstrap.address;
  TaskPtr leader;
  for (const auto& [key, other] : tasks_) {
    if (other == task || other->phase == Phase::kEnding || other->address != task->address) continue;
    if (other->client != nullptr && !other->client->closed()) return ConnectAndCreate(creation);
    if (other->leads) leader = other;
  }
  if (leader == nullptr) return Lead(creation);
  leader->when_spawned.push_back([this, creation] { JoinGroup(creation); });
}

void Manager::Lead(std::shared_ptr<Creation> creation) {
  creation->task->leads = true;
  parts_.records->Submit([this, creation]() mutable {
    absl::StatusOr<sys::PidFd> process = SpawnOurs(creation->task, /*init_fd=*/-1);
    const absl::Status spawned = process.status();
    if (spawned.ok()) creation->process = *std::move(process);
    parts_.loop->Post([this, creation = std::move(creation), spawned] {
      const TaskPtr& task = creation->task;
      task->leads = false;
      std::vector<std::function<void()>> others = std::exchange(task->when_spawned, {});
      Watch(task, std::move(creation->process));
      if (spawned.ok()) {
        ConnectAndCreate(creation);
      } else {
        FailCreate(creation, spawned);
      }
      for (std::function<void()>& other : others) parts_.loop->Post(std::move(other));
    });
  });
}

// The group's shim was killed: this task goes on with one of its own.
void Manager::LeaveGroup(const TaskPtr& task) {
  const absl::StatusOr<std::string> own = bundles_.SocketPath(task->key, options_.host.grpc_address);
  if (!own.ok() || *own == task->socket_path) return;
  RemoveSocket(*task);
  task->socket_path = *own;
  task->bootstrap.address = absl::StrCat("unix://", *own);
  task->address = task->bootstrap.address;
  if (absl::Status status = bundles_.ReplaceBootstrap(task->key, task->bootstrap); !status.ok()) {
    log::Warn("a task's new shim will not be found by the next daemon",
              {{"id", task->key.id}, {"reason", std::string(status.message())}});
  }
}

// Whether `start` has answered with the address of a shim that was told to end; then it is asked again.
bool Manager::WaitForDeparting(const std::shared_ptr<Creation>& creation) {
  for (const TaskPtr& other : departing_) {
    if (other->address != creation->task->bootstrap.address) continue;
    creation->task->bootstrap = Bootstrap();
    other->when_settled.push_back([this, creation] { AskStart(creation); });
    return true;
  }
  return false;
}

}  // namespace gantry::tasks
