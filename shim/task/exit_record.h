// How init ended: kept by the shim until the task is deleted, and by the bundle, as the file `exit`, for a daemon
// that finds no shim any more.
//
//   {"pid":123,"exit_status":137,"exited_at":"2026-08-01T10:00:00.123456789Z"}
#ifndef GANTRY_SHIM_TASK_EXIT_RECORD_H_
#define GANTRY_SHIM_TASK_EXIT_RECORD_H_

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace gantry::shim {

struct ExitRecord {
  pid_t pid = 0;
  uint32_t status = 0;  // the exit code, or 128 + signal
  absl::Time exited_at = absl::InfinitePast();
};

std::string FormatExitRecord(const ExitRecord& record);
absl::StatusOr<ExitRecord> ParseExitRecord(absl::string_view text);

// Replaces <bundle>/exit in one step.
absl::Status WriteExitRecord(const std::string& bundle, const ExitRecord& record);
// NOT_FOUND when there is none.
absl::StatusOr<ExitRecord> ReadExitRecord(const std::string& bundle);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_TASK_EXIT_RECORD_H_
