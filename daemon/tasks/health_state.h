// Health checks, without the checking: what a container asks for, and what the results mean. Docker's rules.
//
// A container asks for them by the label kHealthCheck, which holds the `Healthcheck` of an image's configuration:
//
//   {"Test":["CMD","curl","-f","http://localhost"],      ["CMD-SHELL", text], ["NONE"] or []: no check
//    "Interval":30000000000,"Timeout":30000000000,       nanoseconds; 0 or absent: 30 s, 30 s,
//    "StartPeriod":0,"StartInterval":5000000000,         0, 5 s
//    "Retries":3}                                        0 or absent: 3
//
// The daemon tells by the label kHealthStatus "starting", "healthy" or "unhealthy", and by the extension
// kHealthStatus the last results, up to the last one that changed something, as JSON:
//
//   {"Status":"unhealthy","FailingStreak":3,"Log":[{"Start":"…","End":"…","ExitCode":1,"Output":"…"}]}
//
// Every result is an event, topic kHealthTopic (api/proto/gantry/events/v1/health.proto).
//
// Pure; not thread-safe.
#ifndef GANTRY_DAEMON_TASKS_HEALTH_STATE_H_
#define GANTRY_DAEMON_TASKS_HEALTH_STATE_H_

#include <deque>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace gantry::tasks {

inline constexpr char kHealthCheck[] = "gantry/healthcheck";
inline constexpr char kHealthStatus[] = "gantry/health";
inline constexpr char kHealthTopic[] = "/gantry/health";
inline constexpr size_t kMaxHealthOutput = 4096;  // bytes, as Docker keeps

struct HealthConfig {
  std::vector<std::string> command;  // empty: no checks
  absl::Duration interval = absl::Seconds(30);
  absl::Duration timeout = absl::Seconds(30);
  absl::Duration start_period = absl::ZeroDuration();
  absl::Duration start_interval = absl::Seconds(5);
  int retries = 3;
};

// INVALID_ARGUMENT names the member and the rule.
absl::StatusOr<HealthConfig> ParseHealthConfig(absl::string_view json);

// `process` of an OCI specification (JSON) with the command of a check in place of its own, and no terminal.
absl::StatusOr<std::string> HealthProcess(absl::string_view spec, const std::vector<std::string>& command);

struct HealthResult {
  absl::Time start, end;  // of the clock on the wall
  int exit_code = 0;      // -1: could not run, or took too long
  std::string output;
};

class HealthState {
 public:
  enum class Status { kStarting, kHealthy, kUnhealthy };

  explicit HealthState(const HealthConfig& config) : config_(config) {}

  // `age`: how long the container had run when the check began. Whether anything changed but the log.
  bool Record(HealthResult result, absl::Duration age);
  // How long from the end of a check (or from the start) to the next one.
  absl::Duration Pause(absl::Duration age) const;

  Status status() const { return status_; }
  absl::string_view name() const;
  int failing_streak() const { return failing_streak_; }
  const std::deque<HealthResult>& log() const { return log_; }
  // The extension's JSON.
  std::string ToJson() const;

 private:
  bool InStartPeriod(absl::Duration age) const {
    return status_ == Status::kStarting && age < config_.start_period;
  }

  const HealthConfig config_;
  Status status_ = Status::kStarting;
  int failing_streak_ = 0;
  std::deque<HealthResult> log_;  // the last five
};

}  // namespace gantry::tasks

#endif  // GANTRY_DAEMON_TASKS_HEALTH_STATE_H_
