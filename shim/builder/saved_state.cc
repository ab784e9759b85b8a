#include "shim/builder/saved_state.h"

#include <fcntl.h>

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::shim {
namespace {

constexpr char kFile[] = "/gantry-state";
constexpr size_t kMaxBytes = 64 << 10;  // a dozen paths

}  // namespace

std::string FormatSavedState(const SavedState& state) {
  return absl::StrCat("pid ", state.pid, " ", state.start_time, "\n",
                      cgroup::FormatDirectories(state.cgroup));
}

absl::StatusOr<SavedState> ParseSavedState(absl::string_view text) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits('\n', 1));
  const std::vector<absl::string_view> words = absl::StrSplit(parts.first, ' ');
  SavedState state;
  if (words.size() != 3 || words[0] != "pid" || !absl::SimpleAtoi(words[1], &state.pid) ||
      !absl::SimpleAtoi(words[2], &state.start_time)) {
    return absl::DataLossError("gantry-state: its first line is not \"pid <pid> <start time>\"");
  }
  GANTRY_ASSIGN_OR_RETURN(state.cgroup, cgroup::ParseDirectories(parts.second));
  return state;
}

absl::Status WriteSavedState(const std::string& bundle, const SavedState& state) {
  GANTRY_RETURN_IF_ERROR(sys::WriteFileAtomic(AT_FDCWD, bundle + kFile, FormatSavedState(state), 0600,
                                              sys::Durability::kVolatile));
  return sys::WriteFileAtomic(AT_FDCWD, bundle + "/init.pid", absl::StrCat(state.pid), 0644,
                              sys::Durability::kVolatile);
}

absl::StatusOr<SavedState> ReadSavedState(const std::string& bundle) {
  GANTRY_ASSIGN_OR_RETURN(const std::string text, sys::ReadFileAt(AT_FDCWD, bundle + kFile, kMaxBytes));
  return ParseSavedState(text);
}

}  // namespace gantry::shim
