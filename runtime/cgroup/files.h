// Small reads and writes of control files, and walking a cgroup's directories. Internal to runtime/cgroup.
#ifndef GANTRY_RUNTIME_CGROUP_FILES_H_
#define GANTRY_RUNTIME_CGROUP_FILES_H_

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace gantry::cgroup::internal {

// The whole file; empty if it cannot be read.
std::string ReadOrEmpty(const std::string& path);
absl::StatusOr<std::string> ReadControl(const std::string& path);
absl::Status WriteControl(const std::string& path, absl::string_view value);

// A number, "max" (UINT64_MAX), or nothing of the kind (0). -1 of v1 is UINT64_MAX too.
uint64_t ParseLimit(absl::string_view text);
uint64_t ReadNumber(const std::string& path);
// The number after `key` in lines "key number"; 0 if there is none.
uint64_t KeyedNumber(absl::string_view text, absl::string_view key);

// The names of the cgroups right below `path`. Costs one fstat if there are none.
std::vector<std::string> Children(const std::string& path);
// Adds the processes of `path` and of all cgroups below it. A directory that is gone has none.
absl::Status CollectPids(const std::string& path, std::vector<pid_t>* pids);

// Waits that long (poll(2) on nothing): for the few things that the kernel reports to nobody.
void Pause(int milliseconds);

}  // namespace gantry::cgroup::internal

#endif  // GANTRY_RUNTIME_CGROUP_FILES_H_
