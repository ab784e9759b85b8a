#include "shim/builder/saved_state.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "runtime/cgroup/cgroup.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::shim {
namespace {

constexpr char kFile[] = "/gantry-state";
constexpr size_t kMaxBytes = 64 << 10;  // a dozen paths

// Takes the first line off `text` if it begins with `name`, and gives its rest.
bool TakeLine(absl::string_view name, absl::string_view* text, absl::string_view* rest) {
  if (!absl::ConsumePrefix(text, name)) return false;
  const size_t end = text->find('\n');
  *rest = text->substr(0, end);
  *text = end == absl::string_view::npos ? "" : text->substr(end + 1);
  return true;
}

bool ParsePid(absl::string_view line, SavedState* state) {
  const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
  return words.size() == 2 && absl::SimpleAtoi(words[0], &state->pid) &&
         absl::SimpleAtoi(words[1], &state->start_time);
}

bool ParseAdopt(absl::string_view line, AdoptState* adopt) {
  const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
  return words.size() == 4 && absl::SimpleAtob(words[0], &adopt->private_pid_namespace) &&
         absl::SimpleAtob(words[1], &adopt->has_poststop) && absl::SimpleAtoi(words[2], &adopt->io_uid) &&
         absl::SimpleAtoi(words[3], &adopt->io_gid);
}

}  // namespace

std::string FormatSavedState(const SavedState& state) {
  std::string text = absl::StrCat("pid ", state.pid, " ", state.start_time, "\n");
  if (state.adopt) {
    const AdoptState& adopt = *state.adopt;
    absl::StrAppend(&text, "adopt ", adopt.private_pid_namespace ? 1 : 0, " ", adopt.has_poststop ? 1 : 0,
                    " ", adopt.io_uid, " ", adopt.io_gid, "\n");
    if (!adopt.out.empty()) absl::StrAppend(&text, "out ", adopt.out, "\n");
    if (!adopt.err.empty()) absl::StrAppend(&text, "err ", adopt.err, "\n");
  }
  return absl::StrCat(text, cgroup::FormatDirectories(state.cgroup));
}

absl::StatusOr<SavedState> ParseSavedState(absl::string_view text) {
  SavedState state;
  absl::string_view line;
  if (!TakeLine("pid ", &text, &line) || !ParsePid(line, &state)) {
    return absl::DataLossError("gantry-state: its first line is not \"pid <pid> <start time>\"");
  }
  if (TakeLine("adopt ", &text, &line)) {
    state.adopt.emplace();
    if (!ParseAdopt(line, &*state.adopt)) {
      return absl::DataLossError("gantry-state: its line \"adopt\" lacks one of four numbers");
    }
    if (TakeLine("out ", &text, &line)) state.adopt->out = std::string(line);
    if (TakeLine("err ", &text, &line)) state.adopt->err = std::string(line);
  }
  GANTRY_ASSIGN_OR_RETURN(state.cgroup, cgroup::ParseDirectories(text));
  return state;
}

absl::Status WriteSavedState(const std::string& bundle, const SavedState& state) {
  GANTRY_RETURN_IF_ERROR(sys::WriteFileAtomic(AT_FDCWD, bundle + kFile, FormatSavedState(state), 0600,
                                              sys::Durability::kVolatile));
  return sys::WriteFileAtomic(AT_FDCWD, bundle + "/init.pid", absl::StrCat(state.pid), 0644,
                              sys::Durability::kVolatile);
}

void RemoveSavedState(const std::string& bundle) {
  unlink((bundle + kFile).c_str());
  unlink((bundle + "/init.pid").c_str());
}

absl::StatusOr<SavedState> ReadSavedState(const std::string& bundle) {
  GANTRY_ASSIGN_OR_RETURN(const std::string text, sys::ReadFileAt(AT_FDCWD, bundle + kFile, kMaxBytes));
  return ParseSavedState(text);
}

}  // namespace gantry::shim
