// When our shim is killed: another one goes on with its container, if it can.
#include <fcntl.h>
#include <unistd.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/tasks/manager.h"
#include "daemon/tasks/runtime_name.h"
#include "runtime/sys/log.h"
#include "runtime/sys/status.h"

namespace gantry::tasks {
namespace {

// Shims that are killed before they have answered once, one after the other.
constexpr int kMostAttempts = 5;

}  // namespace

// A pidfd of the process that the bundle names, which the number alone would not prove to be that one.
absl::StatusOr<sys::PidFd> Manager::OpenInit(const TaskKey& key) const {
  GANTRY_ASSIGN_OR_RETURN(const Bundles::InitRecord record, bundles_.ReadInit(key));
  GANTRY_ASSIGN_OR_RETURN(sys::PidFd init, sys::PidFd::Open(record.pid));
  GANTRY_ASSIGN_OR_RETURN(const uint64_t start_time, sys::ProcessStartTime(record.pid));
  if (start_time != record.start_time) return absl::NotFoundError("its init has ended");
  return init;
}

// From now on the kernel keeps its exit status for us, whoever reaps it.
void Manager::HoldInit(const TaskPtr& task) {
  if (!exits_are_kept_ || !IsOurShim(task->binary) || task->init.valid()) return;
  parts_.records->Submit([this, task = task]() mutable {
    // An error: it cannot go on under another shim, or has ended already.
    auto init = std::make_shared<absl::StatusOr<sys::PidFd>>(OpenInit(task->key));
    parts_.loop->Post([task = std::move(task), init] {
      if (init->ok() && task->phase == Phase::kLive && !task->init.valid()) task->init = *std::move(*init);
    });
  });
}

void Manager::SucceedOrClean(const TaskPtr& task) {
  // One that ended by itself before it began will not do better a second time.
  const bool hopeless = task->succeeding > 0 && (!task->shim_killed || task->succeeding >= kMostAttempts);
  if (!exits_are_kept_ || !IsOurShim(task->binary) || task->socket_path.empty() || hopeless) {
    return CleanAfterShim(task);
  }
  ++task->succeeding;
  task->shim_killed = false;
  LeaveGroup(task);
  auto init = std::make_shared<sys::PidFd>(std::move(task->init));
  parts_.records->Submit([this, task = task, init]() mutable {
    auto process = std::make_shared<absl::StatusOr<sys::PidFd>>(SpawnSuccessor(task, init.get()));
    parts_.loop->Post([this, task = std::move(task), init = std::move(init), process] {
      task->init = std::move(*init);
      OnSuccessor(task, std::move(*process));
    });
  });
}

absl::StatusOr<sys::PidFd> Manager::SpawnSuccessor(const TaskPtr& task, sys::PidFd* init) {
  if (init->valid()) {
    GANTRY_RETURN_IF_ERROR(bundles_.ReadInit(task->key).status());
  } else {
    GANTRY_ASSIGN_OR_RETURN(*init, OpenInit(task->key));
  }
  return SpawnOurs(task, init->fd());
}

void Manager::OnSuccessor(const TaskPtr& task, absl::StatusOr<sys::PidFd> process) {
  if (stopping_) return;
  // Its client may have deleted it meanwhile.
  if (task->phase != Phase::kLive && task->phase != Phase::kLoading) return;
  absl::Status status = process.status();
  if (status.ok()) status = Connect(task);
  if (!status.ok()) {
    log::Info("no other shim can go on with a task",
              {{"ns", task->key.ns}, {"id", task->key.id}, {"reason", std::string(status.message())}});
    return CleanAfterShim(task);
  }
  log::Warn("a shim was killed: another one goes on with its task",
            {{"ns", task->key.ns}, {"id", task->key.id}});
  Watch(task, *std::move(process));
  task->disconnected = false;
  if (task->phase == Phase::kLoading) {
    AskState(task);  // then it is live, and those who wait are served
  } else {
    AskWaitsAgain(task);
    Known(task);
  }
  shim::ConnectRequest request;
  request.set_id(task->key.id);
  CallShim(task, "Connect", request.SerializeAsString(), options_.timeouts.shim_load,
           [task](const absl::StatusOr<std::string>& answer) {
             if (answer.ok()) task->succeeding = 0;
           });
}

void Manager::AskWaitsAgain(const TaskPtr& task) {
  std::vector<std::string> exec_ids;
  for (auto& [exec_id, group] : task->waits) {
    group.asked = false;
    exec_ids.push_back(exec_id);
  }
  for (const std::string& exec_id : exec_ids) AskWait(task, exec_id);
}

}  // namespace gantry::tasks
