// The labels by which a client asks the daemon to keep a container running (nerdctl's --restart).
//
//   containerd.io/restart.status              running | stopped: what the task shall be
//   containerd.io/restart.policy              always (also when absent) | unless-stopped | on-failure[:max] | no
//   containerd.io/restart.count               how often it was started again, kept by the daemon
//   containerd.io/restart.explicitly-stopped  true: a client stopped it
//   containerd.io/restart.loguri              where its output goes
//
// Source: containerd's core/runtime/restart. Pure, thread-safe.
#ifndef GANTRY_DAEMON_TASKS_RESTART_POLICY_H_
#define GANTRY_DAEMON_TASKS_RESTART_POLICY_H_

#include <cstdint>
#include <map>
#include <string>

namespace gantry::tasks {

inline constexpr char kRestartStatus[] = "containerd.io/restart.status";
inline constexpr char kRestartPolicy[] = "containerd.io/restart.policy";
inline constexpr char kRestartCount[] = "containerd.io/restart.count";
inline constexpr char kRestartStopped[] = "containerd.io/restart.explicitly-stopped";
inline constexpr char kRestartLogUri[] = "containerd.io/restart.loguri";

using LabelMap = std::map<std::string, std::string>;

enum class TaskIs { kAbsent, kCreated, kRunning, kPaused, kStopped };
enum class RestartAction { kNone, kStart, kStop };

// What is to be done for a container with `labels` whose task `is` so; `exit_status` counts if it is stopped.
RestartAction DecideRestart(const LabelMap& labels, TaskIs is, uint32_t exit_status);

// The restart count in the labels; 0 if there is none.
int RestartCountOf(const LabelMap& labels);

}  // namespace gantry::tasks

#endif  // GANTRY_DAEMON_TASKS_RESTART_POLICY_H_
