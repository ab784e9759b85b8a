#include "api/errors/errors.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace gantry::errors {
namespace {

struct Row {
  absl::StatusCode code;
  const char* name;
  const char* suffix;  // containerd's word for the class, where its clients look for it
};

// In the order of the numbers on the wire.
constexpr Row kTable[] = {
    {absl::StatusCode::kOk, "OK", ""},
    {absl::StatusCode::kCancelled, "CANCELLED", ""},
    {absl::StatusCode::kUnknown, "UNKNOWN", ""},
    {absl::StatusCode::kInvalidArgument, "INVALID_ARGUMENT", "invalid argument"},
    {absl::StatusCode::kDeadlineExceeded, "DEADLINE_EXCEEDED", ""},
    {absl::StatusCode::kNotFound, "NOT_FOUND", "not found"},
    {absl::StatusCode::kAlreadyExists, "ALREADY_EXISTS", "already exists"},
    {absl::StatusCode::kPermissionDenied, "PERMISSION_DENIED", ""},
    {absl::StatusCode::kResourceExhausted, "RESOURCE_EXHAUSTED", ""},
    {absl::StatusCode::kFailedPrecondition, "FAILED_PRECONDITION", "failed precondition"},
    {absl::StatusCode::kAborted, "ABORTED", ""},
    {absl::StatusCode::kOutOfRange, "OUT_OF_RANGE", ""},
    {absl::StatusCode::kUnimplemented, "UNIMPLEMENTED", "not implemented"},
    {absl::StatusCode::kInternal, "INTERNAL", ""},
    {absl::StatusCode::kUnavailable, "UNAVAILABLE", "unavailable"},
    {absl::StatusCode::kDataLoss, "DATA_LOSS", ""},
    {absl::StatusCode::kUnauthenticated, "UNAUTHENTICATED", ""},
};
constexpr int kRows = sizeof(kTable) / sizeof(kTable[0]);

const Row& RowOf(absl::StatusCode code) {
  const int index = static_cast<int>(code);
  return kTable[index >= 0 && index < kRows ? index : static_cast<int>(absl::StatusCode::kUnknown)];
}

}  // namespace

int WireCode(absl::StatusCode code) { return static_cast<int>(RowOf(code).code); }

absl::StatusCode FromWireCode(int code) { return RowOf(static_cast<absl::StatusCode>(code)).code; }

absl::Status FromWire(int code, absl::string_view message) {
  return absl::Status(FromWireCode(code), message);
}

std::string WireMessage(const absl::Status& status) {
  const absl::string_view suffix = RowOf(status.code()).suffix;
  if (status.message().empty()) return std::string(suffix);
  if (suffix.empty() || absl::EndsWith(status.message(), suffix)) return std::string(status.message());
  return absl::StrCat(status.message(), ": ", suffix);
}

absl::string_view CodeName(absl::StatusCode code) { return RowOf(code).name; }

}  // namespace gantry::errors
