// What a command says when it fails: three lines (what failed, why, what to do next) and an exit code.
//
// A Failure travels as an absl::Status, so that the code below needs no second error type: the three texts
// and the exit code are its payloads. Exit codes are Docker's. Thread-safe: plain functions.
#ifndef GANTRY_CMD_GANTRY_UI_FAILURE_H_
#define GANTRY_CMD_GANTRY_UI_FAILURE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace gantry::cli {

inline constexpr int kExitGantryFailed = 125;   // gantry itself, the daemon, or the container's creation
inline constexpr int kExitNotExecutable = 126;  // the command exists and cannot be executed
inline constexpr int kExitNotFound = 127;       // the command does not exist in the container

struct FailureText {
  std::string what = "";  // "cannot run image busybox"
  std::string why = "";   // "there is no image ..."
  std::string next = "";  // "see what there is: gantry images"
  int exit_code = kExitGantryFailed;
};

// An error with all three lines.
absl::Status Failure(FailureText text);

// Puts `what` over the error `why`. The third line is `next`, or, if that is empty, one that fits the
// error's code. A `why` that is a Failure already is returned unchanged: the innermost knows best. OK stays
// OK.
absl::Status Explain(absl::string_view what, const absl::Status& why, absl::string_view next = "");

bool IsFailure(const absl::Status& status);

// The three texts of any error, a Failure or not. `status` must not be OK.
FailureText Describe(const absl::Status& status);

// Three lines, each ending in a newline. A line break or control character inside a text becomes a space or
// "?", so that there are always three, and a hostile name cannot drive the terminal.
std::string Render(const FailureText& text);

}  // namespace gantry::cli

#endif  // GANTRY_CMD_GANTRY_UI_FAILURE_H_
