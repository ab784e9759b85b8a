// Checkpoint and restore by our own runtime, in forked helpers. See runtime/container/checkpoint.h.
#ifndef GANTRY_SHIM_BUILDER_CHECKPOINT_H_
#define GANTRY_SHIM_BUILDER_CHECKPOINT_H_

#include <string>

#include "absl/status/statusor.h"
#include "runtime/container/container.h"
#include "shim/builder/engine.h"
#include "shim/builder/jobs.h"

namespace gantry::shim {

Engine::Job StartCheckpoint(const EngineTarget& target, const CheckpointJob& job);

// Runs in the builder. `options` are those of a Create; the root file system is mounted where only the builder and
// criu see it.
absl::StatusOr<container::Container> RestoreHere(const CreateJob& job,
                                                 const container::CreateOptions& options);

// Where criu's logs go: `given`, or a directory of the bundle.
std::string CriuWorkPath(const std::string& given, const std::string& bundle);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_BUILDER_CHECKPOINT_H_
