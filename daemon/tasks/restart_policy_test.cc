#include "daemon/tasks/restart_policy.h"

#include <gtest/gtest.h>

namespace gantry::tasks {
namespace {

LabelMap Labels(const std::string& status, const std::string& policy = "", const std::string& count = "") {
  LabelMap labels = {{kRestartStatus, status}};
  if (!policy.empty()) labels[kRestartPolicy] = policy;
  if (!count.empty()) labels[kRestartCount] = count;
  return labels;
}

TEST(RestartPolicyTest, RunningIsKeptRunning) {
  EXPECT_EQ(DecideRestart(Labels("running"), TaskIs::kStopped, 0), RestartAction::kStart);
  EXPECT_EQ(DecideRestart(Labels("running"), TaskIs::kAbsent, 0), RestartAction::kStart);
  EXPECT_EQ(DecideRestart(Labels("running"), TaskIs::kRunning, 0), RestartAction::kNone);
  EXPECT_EQ(DecideRestart(Labels("running"), TaskIs::kPaused, 0), RestartAction::kNone);
}

TEST(RestartPolicyTest, StoppedIsStoppedOnce) {
  EXPECT_EQ(DecideRestart(Labels("stopped"), TaskIs::kRunning, 0), RestartAction::kStop);
  EXPECT_EQ(DecideRestart(Labels("stopped"), TaskIs::kStopped, 0), RestartAction::kNone);
  EXPECT_EQ(DecideRestart(Labels("stopped"), TaskIs::kAbsent, 0), RestartAction::kNone);
  EXPECT_EQ(DecideRestart(Labels(""), TaskIs::kStopped, 0), RestartAction::kNone);
}

TEST(RestartPolicyTest, PoliciesDecide) {
  EXPECT_EQ(DecideRestart(Labels("running", "no"), TaskIs::kStopped, 1), RestartAction::kNone);
  EXPECT_EQ(DecideRestart(Labels("running", "on-failure"), TaskIs::kStopped, 0), RestartAction::kNone);
  EXPECT_EQ(DecideRestart(Labels("running", "on-failure"), TaskIs::kStopped, 1), RestartAction::kStart);
  EXPECT_EQ(DecideRestart(Labels("running", "on-failure:3", "2"), TaskIs::kStopped, 1),
            RestartAction::kStart);
  EXPECT_EQ(DecideRestart(Labels("running", "on-failure:3", "3"), TaskIs::kStopped, 1), RestartAction::kNone);
  LabelMap labels = Labels("running", "unless-stopped");
  EXPECT_EQ(DecideRestart(labels, TaskIs::kStopped, 0), RestartAction::kStart);
  labels[kRestartStopped] = "true";
  EXPECT_EQ(DecideRestart(labels, TaskIs::kStopped, 0), RestartAction::kNone);
}

}  // namespace
}  // namespace gantry::tasks
