#include "cmd/gantry/commands/start_error.h"

#include <initializer_list>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "cmd/gantry/ui/failure.h"

namespace gantry::cli {
namespace {

// Needles in lower case; case does not count.
bool ContainsAny(absl::string_view text, std::initializer_list<absl::string_view> needles) {
  const std::string lower = absl::AsciiStrToLower(text);
  for (const absl::string_view needle : needles) {
    if (absl::StrContains(lower, needle)) return true;
  }
  return false;
}

}  // namespace

absl::Status ExplainCreate(const std::string& what, const absl::Status& status) {
  if (absl::IsNotFound(status) && absl::StrContains(status.message(), "there is no image")) {
    return Explain(what, status, "see what there is: gantry images; bring one: gantry image import FILE");
  }
  if (absl::IsAlreadyExists(status)) {
    return Explain(what, status, "choose another --name, or remove what has it: gantry rm NAME");
  }
  if (absl::IsInvalidArgument(status)) {
    return Explain(what, status, "correct it; gantry run --help shows what is accepted");
  }
  return Explain(what, status);
}

absl::Status ExplainStart(const std::string& what, const std::vector<std::string>& command,
                          const absl::Status& status) {
  if (status.ok()) return status;
  const absl::string_view why = status.message();
  // All runtimes say which step failed; only the execution of the command itself is the command's fault.
  const bool executing = ContainsAny(why, {"exec", "executable file", "starting container process"});
  FailureText text{.what = what, .why = std::string(why)};
  if (executing && ContainsAny(why, {"not found", "no such file or directory"})) {
    text.next = command.empty() ? "the image's own command is missing from it: give another one"
                                : absl::StrCat("check the spelling, and that the image holds ", command[0]);
    text.exit_code = kExitNotFound;
    return Failure(text);
  }
  if (executing &&
      ContainsAny(why, {"permission denied", "exec format error", "is a directory", "not a directory"})) {
    text.next = "check that it is a program for this machine, with its executable bit set";
    text.exit_code = kExitNotExecutable;
    return Failure(text);
  }
  return Explain(what, status);
}

}  // namespace gantry::cli
