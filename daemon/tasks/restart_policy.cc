#include "daemon/tasks/restart_policy.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/string_view.h"

namespace gantry::tasks {
namespace {

absl::string_view Get(const LabelMap& labels, const char* key) {
  const auto it = labels.find(key);
  return it == labels.end() ? absl::string_view() : absl::string_view(it->second);
}

bool PolicyStarts(const LabelMap& labels, TaskIs is, uint32_t exit_status) {
  const absl::string_view policy = Get(labels, kRestartPolicy);
  if (policy.empty() || policy == "always") return true;
  if (policy == "unless-stopped") {
    bool stopped = false;
    return !absl::SimpleAtob(Get(labels, kRestartStopped), &stopped) || !stopped;
  }
  if (!absl::StartsWith(policy, "on-failure")) return false;
  if (is != TaskIs::kStopped || exit_status == 0) return false;
  const absl::string_view limit = policy.substr(10);
  int most = 0;
  if (limit.empty() || !absl::SimpleAtoi(limit.substr(1), &most) || most == 0) return true;
  return RestartCountOf(labels) < most;
}

}  // namespace

int RestartCountOf(const LabelMap& labels) {
  int count = 0;
  return absl::SimpleAtoi(Get(labels, kRestartCount), &count) && count > 0 ? count : 0;
}

RestartAction DecideRestart(const LabelMap& labels, TaskIs is, uint32_t exit_status) {
  const absl::string_view wanted = Get(labels, kRestartStatus);
  if (wanted == "stopped") {
    return is == TaskIs::kAbsent || is == TaskIs::kStopped ? RestartAction::kNone : RestartAction::kStop;
  }
  if (wanted != "running" || is == TaskIs::kRunning || is == TaskIs::kPaused) return RestartAction::kNone;
  return PolicyStarts(labels, is, exit_status) ? RestartAction::kStart : RestartAction::kNone;
}

}  // namespace gantry::tasks
