#include "shim/task/state.h"

#include "absl/strings/str_cat.h"

namespace gantry::shim {

absl::Status ProcessState::Refuse(absl::string_view what, absl::string_view noun) const {
  return absl::FailedPreconditionError(absl::StrCat("cannot ", what, " a ", adjective(), " ", noun));
}

absl::Status ProcessState::CheckStart() const { return Refuse("start", "process"); }
absl::Status ProcessState::CheckDelete() const { return Refuse("delete", "process"); }
absl::Status ProcessState::CheckPause() const { return Refuse("pause", "container"); }
absl::Status ProcessState::CheckResume() const { return Refuse("resume", "container"); }
absl::Status ProcessState::CheckCheckpoint() const { return Refuse("checkpoint", "task"); }
absl::Status ProcessState::CheckExec() const {
  return absl::FailedPreconditionError(absl::StrCat("cannot exec in a ", adjective(), " container"));
}

namespace {

class CreatedState : public ProcessState {
 public:
  ReportedStatus reported() const override { return ReportedStatus::kCreated; }
  absl::Status CheckStart() const override { return absl::OkStatus(); }
  // Init waits, and is killed.
  absl::Status CheckDelete() const override { return absl::OkStatus(); }
  absl::Status CheckExec() const override { return absl::OkStatus(); }

 protected:
  absl::string_view adjective() const override { return "created"; }
};

class ExecCreatedState : public CreatedState {
 public:
  bool alive() const override { return false; }
  absl::Status CheckKill() const override { return absl::FailedPreconditionError("process not created"); }
};

class StartingState : public ProcessState {
 public:
  ReportedStatus reported() const override { return ReportedStatus::kCreated; }

 protected:
  absl::string_view adjective() const override { return "starting"; }
};

class RunningState : public ProcessState {
 public:
  ReportedStatus reported() const override { return ReportedStatus::kRunning; }
  absl::Status CheckPause() const override { return absl::OkStatus(); }
  absl::Status CheckCheckpoint() const override { return absl::OkStatus(); }
  absl::Status CheckExec() const override { return absl::OkStatus(); }

 protected:
  absl::string_view adjective() const override { return "running"; }
};

class PausedState : public ProcessState {
 public:
  ReportedStatus reported() const override { return ReportedStatus::kPaused; }
  absl::Status CheckResume() const override { return absl::OkStatus(); }
  absl::Status CheckCheckpoint() const override { return absl::OkStatus(); }

 protected:
  absl::string_view adjective() const override { return "paused"; }
};

class StoppedState : public ProcessState {
 public:
  ReportedStatus reported() const override { return ReportedStatus::kStopped; }
  bool alive() const override { return false; }
  absl::Status CheckDelete() const override { return absl::OkStatus(); }
  absl::Status CheckKill() const override { return absl::NotFoundError("process already finished"); }
  absl::Status CheckUpdate() const override { return Refuse("update", "container"); }
  absl::Status CheckResize() const override { return Refuse("resize", "container"); }

 protected:
  absl::string_view adjective() const override { return "stopped"; }
};

}  // namespace

namespace state {

const ProcessState& Created() {
  static const CreatedState instance;
  return instance;
}
const ProcessState& ExecCreated() {
  static const ExecCreatedState instance;
  return instance;
}
const ProcessState& Starting() {
  static const StartingState instance;
  return instance;
}
const ProcessState& Running() {
  static const RunningState instance;
  return instance;
}
const ProcessState& Paused() {
  static const PausedState instance;
  return instance;
}
const ProcessState& Stopped() {
  static const StoppedState instance;
  return instance;
}

}  // namespace state
}  // namespace gantry::shim
