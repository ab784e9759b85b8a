#include "shim/builder/engine.h"

#include "runtime/sys/status.h"
#include "shim/builder/checkpoint.h"
#include "shim/builder/program_engine.h"

namespace gantry::shim {
namespace {

// The runtime that this program is linked with.
class OwnEngine final : public Engine {
 public:
  explicit OwnEngine(const EngineOptions& options) : options_(options) {}

  Job Create(const CreateJob& job) const override {
    CreateJob own = job;
    own.no_pivot = options_.no_pivot;
    own.no_new_keyring = options_.no_new_keyring;
    own.systemd_cgroup = options_.systemd_cgroup;
    return StartCreate(own);
  }
  Job Exec(const ExecJob& job) const override { return StartExec(job); }
  Job Start(const EngineTarget&) const override {
    return absl::InternalError("a container of our own is started by its control socket");
  }
  Job Signal(const EngineTarget& target, int signal, bool all) const override {
    GANTRY_RETURN_IF_ERROR(all ? target.cgroup.KillAll(signal) : target.init.Signal(signal));
    return sys::UniqueFd();
  }
  Job Pause(const EngineTarget& target) const override {
    GANTRY_RETURN_IF_ERROR(target.cgroup.Freeze());
    return sys::UniqueFd();
  }
  Job Resume(const EngineTarget& target) const override {
    GANTRY_RETURN_IF_ERROR(target.cgroup.Thaw());
    return sys::UniqueFd();
  }
  Job Checkpoint(const EngineTarget& target, const CheckpointJob& job) const override {
    return StartCheckpoint(target, job);
  }
  Job Update(const EngineTarget& target, const std::string& resources_json) const override {
    return StartUpdate(resources_json, target.cgroup);
  }
  Job Delete(const EngineTarget&) const override { return sys::UniqueFd(); }

 private:
  const EngineOptions options_;
};

}  // namespace

std::unique_ptr<Engine> MakeEngine(const EngineOptions& options) {
  if (options.program.empty()) return std::make_unique<OwnEngine>(options);
  return MakeProgramEngine(options);
}

}  // namespace gantry::shim
