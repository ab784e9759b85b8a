// Containers and their tasks over the API. May be called from several threads, one Client each.
#ifndef GANTRY_CMD_GANTRY_CLIENT_CONTAINER_STORE_H_
#define GANTRY_CMD_GANTRY_CLIENT_CONTAINER_STORE_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "cmd/gantry/client/client.h"

namespace gantry::cli {

// Labels that gantry puts on its containers.
inline constexpr char kLogLabel[] = "gantry/log";        // path of a detached container's log
inline constexpr char kRemoveLabel[] = "gantry/remove";  // --rm
inline constexpr char kStopSignalLabel[] = "io.containerd.image.config.stop-signal";  // containerd's own name

using Process = containerd::v1::types::Process;

absl::StatusOr<std::vector<containers::Container>> ListContainers(Client* client);
// The tasks of a namespace by their container's id.
absl::StatusOr<std::map<std::string, Process>> ListTasks(Client* client);

// The container that `typed` means: its id, or the unique beginning of one. NOT_FOUND and INVALID_ARGUMENT
// (several begin so: they are named) say what was looked for, and where.
absl::StatusOr<containers::Container> FindContainer(Client* client, const std::string& typed);

// The container's task; nothing if it has none.
absl::StatusOr<std::optional<Process>> FindTask(Client* client, const std::string& id);

// "running", "exited", "created", "paused"; "created" without a task.
std::string StateName(const std::optional<Process>& task);

// Sends a signal to the first process. FAILED_PRECONDITION, with its state, if it doesn't run.
absl::Status KillTask(Client* client, const std::string& id, int signal);

// Waits for the end of the first process, at most `timeout`. DEADLINE_EXCEEDED if it still runs.
absl::StatusOr<uint32_t> WaitTask(Client* client, const std::string& id, absl::Duration timeout);

// Removes the container with its task, snapshot and log. A running one is FAILED_PRECONDITION unless `force`,
// which kills it first. What is gone already is no error, so that a removal cut short can be repeated.
absl::Status RemoveContainer(Client* client, const containers::Container& container, bool force);

// Lease-free, best effort: removes a snapshot; a missing one is OK.
absl::Status RemoveSnapshot(Client* client, const std::string& snapshotter, const std::string& key);

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_CLIENT_CONTAINER_STORE_H_
