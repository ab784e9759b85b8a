#include "cmd/gantry/ui/failure.h"

#include <optional>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "cmd/gantry/ui/text.h"

namespace gantry::cli {
namespace {

constexpr char kWhat[] = "gantry/what";
constexpr char kWhy[] = "gantry/why";
constexpr char kNext[] = "gantry/next";
constexpr char kExit[] = "gantry/exit";

std::string Payload(const absl::Status& status, absl::string_view key) {
  const auto cord = status.GetPayload(key);
  return cord.has_value() ? std::string(*cord) : std::string();
}

absl::string_view NextFor(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kUnavailable:
      return "start the daemon (gantryd), or name its socket: gantry -a SOCKET ...";
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return "run gantry as root: the daemon's socket is root's";
    case absl::StatusCode::kNotFound:
      return "see what there is: gantry ps -a; gantry images; another namespace: gantry -n NAME ...";
    case absl::StatusCode::kAlreadyExists:
      return "choose another name, or remove what has it: gantry rm NAME";
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return "correct the value; gantry COMMAND --help shows what is accepted";
    case absl::StatusCode::kFailedPrecondition:
      return "see its state: gantry ps -a";
    case absl::StatusCode::kResourceExhausted:
      return "free some space or raise the limit, then try again";
    case absl::StatusCode::kUnimplemented:
      return "this daemon cannot do that; its version: gantry version";
    case absl::StatusCode::kDeadlineExceeded:
      return "the daemon took too long; try again, and read its log if it happens again";
    default:
      return "read the daemon's log for the details";
  }
}

}  // namespace

absl::Status Failure(FailureText text) {
  absl::Status status(absl::StatusCode::kUnknown, absl::StrCat(text.what, ": ", text.why));
  status.SetPayload(kWhat, absl::Cord(text.what));
  status.SetPayload(kWhy, absl::Cord(text.why));
  status.SetPayload(kNext, absl::Cord(text.next));
  status.SetPayload(kExit, absl::Cord(absl::StrCat(text.exit_code)));
  return status;
}

absl::Status Explain(absl::string_view what, const absl::Status& why, absl::string_view next) {
  if (why.ok() || IsFailure(why)) return why;
  return Failure({.what = std::string(what),
                  .why = std::string(why.message()),
                  .next = std::string(next.empty() ? NextFor(why.code()) : next)});
}

bool IsFailure(const absl::Status& status) { return status.GetPayload(kWhat).has_value(); }

FailureText Describe(const absl::Status& status) {
  if (!IsFailure(status)) {
    return {.what = "the command failed",
            .why = std::string(status.message()),
            .next = std::string(NextFor(status.code()))};
  }
  FailureText text{
      .what = Payload(status, kWhat), .why = Payload(status, kWhy), .next = Payload(status, kNext)};
  int code = 0;
  if (absl::SimpleAtoi(Payload(status, kExit), &code)) text.exit_code = code;
  return text;
}

std::string Render(const FailureText& text) {
  return absl::StrCat("gantry: ", OneLine(text.what), "\n  why:  ", OneLine(text.why),
                      "\n  next: ", OneLine(text.next), "\n");
}

}  // namespace gantry::cli
