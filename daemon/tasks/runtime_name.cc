#include "daemon/tasks/runtime_name.h"

#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace gantry::tasks {
namespace {

bool IsExecutable(const std::string& file) {
  struct stat st;
  return stat(file.c_str(), &st) == 0 && S_ISREG(st.st_mode) && access(file.c_str(), X_OK) == 0;
}

bool IsPlain(absl::string_view part) {
  for (char c : part) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '-' && c != '_') return false;
  }
  return !part.empty();
}

}  // namespace

absl::StatusOr<std::string> ShimProgram(absl::string_view runtime,
                                        const std::map<std::string, std::string>& overrides) {
  if (const auto it = overrides.find(std::string(runtime)); it != overrides.end()) return it->second;
  if (absl::StartsWith(runtime, "/")) return std::string(runtime);
  if (runtime == "io.containerd.runc.v2" || runtime == "io.containerd.runc.v1" ||
      runtime == "io.containerd.runtime.v1.linux") {
    return std::string(kOurShim);
  }
  const std::vector<absl::string_view> parts = absl::StrSplit(runtime, '.');
  if (parts.size() >= 2 && IsPlain(parts[parts.size() - 2]) && IsPlain(parts.back())) {
    return absl::StrCat("containerd-shim-", parts[parts.size() - 2], "-", parts.back());
  }
  return absl::InvalidArgumentError(
      absl::StrCat("invalid runtime name \"", runtime,
                   "\": it must be like \"io.containerd.runc.v2\", or the absolute path of a shim"));
}

absl::StatusOr<std::string> FindProgram(absl::string_view program, absl::string_view path,
                                        absl::string_view own_directory) {
  if (absl::StartsWith(program, "/")) {
    if (IsExecutable(std::string(program))) return std::string(program);
    return absl::FailedPreconditionError(absl::StrCat("the shim ", program, " is no executable file"));
  }
  std::vector<std::string> directories = absl::StrSplit(path, ':');
  directories.emplace_back(own_directory);
  for (const std::string& directory : directories) {
    if (!absl::StartsWith(directory, "/")) continue;
    std::string file = absl::StrCat(directory, "/", program);
    if (IsExecutable(file)) return file;
  }
  return absl::FailedPreconditionError(absl::StrCat("the runtime is not installed: there is no shim ",
                                                    program, " in PATH (", path, ") nor in ", own_directory));
}

bool IsOurShim(absl::string_view file) {
  return file.substr(file.rfind('/') + 1) == kOurShim;  // npos + 1 is 0
}

}  // namespace gantry::tasks
