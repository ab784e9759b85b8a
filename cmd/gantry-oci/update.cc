// update.
#include <fcntl.h>
#include <unistd.h>

#include <limits>

#include "absl/strings/str_cat.h"
#include "cmd/gantry-oci/context.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::oci_cli {
namespace {

absl::StatusOr<oci::Resources> ReadDocument(const std::string& path) {
  if (path == "-") {
    GANTRY_ASSIGN_OR_RETURN(const std::string text, sys::ReadAll(STDIN_FILENO, oci::kMaxSpecBytes));
    return oci::ParseResources(text, "stdin");
  }
  GANTRY_ASSIGN_OR_RETURN(const std::string text, sys::ReadFileAt(AT_FDCWD, path, oci::kMaxSpecBytes));
  return oci::ParseResources(text, path);
}

absl::Status Bytes(const Arguments& arguments, const char* name, std::optional<int64_t>* out) {
  const std::optional<std::string> text = arguments.Find(name);
  if (!text.has_value()) return absl::OkStatus();
  auto bytes = ParseBytes(*text);
  if (!bytes.ok()) return sys::Annotate(bytes.status(), absl::StrCat("--", name));
  *out = *bytes;
  return absl::OkStatus();
}

// A number within the range of T.
template <typename T>
absl::Status Number(const Arguments& arguments, const char* name, std::optional<T>* out) {
  GANTRY_ASSIGN_OR_RETURN(const std::optional<int64_t> number, arguments.Number(name));
  if (!number.has_value()) return absl::OkStatus();
  constexpr bool kSigned = std::numeric_limits<T>::is_signed;
  if ((!kSigned && *number < 0) ||
      (sizeof(T) < sizeof(int64_t) && *number > static_cast<int64_t>(std::numeric_limits<T>::max()))) {
    return absl::InvalidArgumentError(absl::StrCat("--", name, ": ", *number, " is out of range"));
  }
  *out = static_cast<T>(*number);
  return absl::OkStatus();
}

absl::StatusOr<oci::Resources> FromOptions(const Arguments& arguments) {
  oci::Resources resources;
  oci::MemoryResources& memory = resources.memory.emplace();
  oci::CpuResources& cpu = resources.cpu.emplace();
  GANTRY_RETURN_IF_ERROR(Bytes(arguments, "memory", &memory.limit));
  GANTRY_RETURN_IF_ERROR(Bytes(arguments, "memory-swap", &memory.swap));
  GANTRY_RETURN_IF_ERROR(Bytes(arguments, "memory-reservation", &memory.reservation));
  GANTRY_RETURN_IF_ERROR(Number(arguments, "cpu-share", &cpu.shares));
  GANTRY_RETURN_IF_ERROR(Number(arguments, "cpu-quota", &cpu.quota));
  GANTRY_RETURN_IF_ERROR(Number(arguments, "cpu-period", &cpu.period));
  GANTRY_RETURN_IF_ERROR(Number(arguments, "cpu-burst", &cpu.burst));
  GANTRY_RETURN_IF_ERROR(Number(arguments, "cpu-rt-runtime", &cpu.realtime_runtime));
  GANTRY_RETURN_IF_ERROR(Number(arguments, "cpu-rt-period", &cpu.realtime_period));
  GANTRY_RETURN_IF_ERROR(Number(arguments, "cpu-idle", &cpu.idle));
  cpu.cpus = arguments.Get("cpuset-cpus");
  cpu.mems = arguments.Get("cpuset-mems");
  GANTRY_RETURN_IF_ERROR(Number(arguments, "pids-limit", &resources.pids_limit));
  GANTRY_RETURN_IF_ERROR(Number(arguments, "blkio-weight", &resources.block_io.emplace().weight));
  return resources;
}

absl::Status UpdateResctrl(const Loaded& container, const Arguments& arguments) {
  std::vector<std::string> lines;
  for (const char* name : {"l3-cache-schema", "mem-bw-schema"}) {
    if (!arguments.Get(name).empty()) lines.push_back(arguments.Get(name));
  }
  if (lines.empty()) return absl::OkStatus();
  GANTRY_ASSIGN_OR_RETURN(const oci::Spec spec, LoadSpec(container));
  return container::UpdateResctrl(spec, container.saved.id, lines);
}

}  // namespace

Result Update(const Context& context, const Arguments& arguments) {
  GANTRY_ASSIGN_OR_RETURN(const Loaded container, Load(context, arguments.positional()[0]));
  if (container.status == oci::Status::kStopped) {
    return absl::FailedPreconditionError(
        absl::StrCat("container \"", container.saved.id, "\" is stopped: nothing is left to limit"));
  }
  const std::string document = arguments.Get("resources");
  GANTRY_ASSIGN_OR_RETURN(const oci::Resources resources,
                          document.empty() ? FromOptions(arguments) : ReadDocument(document));
  GANTRY_RETURN_IF_ERROR(oci::ValidateResources(resources));
  for (const char* obsolete : {"kernel-memory", "kernel-memory-tcp"}) {
    if (arguments.Has(obsolete)) context.Warn(absl::StrCat("--", obsolete, " has no effect"));
  }
  GANTRY_RETURN_IF_ERROR(container.group().Update(resources));
  GANTRY_RETURN_IF_ERROR(UpdateResctrl(container, arguments));
  return 0;
}

}  // namespace gantry::oci_cli
