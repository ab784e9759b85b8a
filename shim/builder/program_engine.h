// Drives the program of another OCI runtime, as containerd's runc shim does (its command line is runc's, which crun,
// youki and others share).
//
// The root file system is mounted where only that program sees it (runtime/linux/private_root.h): a crash of
// everything leaves no mount behind. The container's processes become the shim's children, because it is a subreaper.
// Which program and state directory a container has is written to its bundle before the program runs, for `delete`:
//
//   gantry-runtime:   program <path>\nroot <directory>\nsystemd 0|1\n
#ifndef GANTRY_SHIM_BUILDER_PROGRAM_ENGINE_H_
#define GANTRY_SHIM_BUILDER_PROGRAM_ENGINE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "shim/builder/engine.h"

namespace gantry::shim {

std::unique_ptr<Engine> MakeProgramEngine(const EngineOptions& options);

std::string FormatEngineRecord(const EngineOptions& options);
absl::StatusOr<EngineOptions> ParseEngineRecord(absl::string_view text);
// NOT_FOUND when the container is our own runtime's.
absl::StatusOr<EngineOptions> ReadEngineRecord(const std::string& bundle);

// Has the program kill and forget the container `id`; OK when it does not know it. Blocks.
absl::Status ForceDelete(const EngineOptions& options, const std::string& id, const std::string& bundle);

}  // namespace gantry::shim

#endif  // GANTRY_SHIM_BUILDER_PROGRAM_ENGINE_H_
