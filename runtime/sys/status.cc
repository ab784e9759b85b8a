#include "runtime/sys/status.h"

#include <cstring>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace gantry::sys {
namespace {

constexpr absl::string_view kErrnoPayload = "gantry.errno";

absl::Status WithMessage(const absl::Status& status, absl::string_view message) {
  absl::Status result(status.code(), message);
  status.ForEachPayload(
      [&result](absl::string_view type, const absl::Cord& payload) { result.SetPayload(type, payload); });
  return result;
}

}  // namespace

absl::Status ErrnoStatus(absl::string_view call, absl::string_view subject, int error) {
  char buffer[128];
  // The GNU strerror_r: it may answer with a static string instead of the buffer.
  const char* text = strerror_r(error, buffer, sizeof buffer);
  absl::Status status(absl::ErrnoToStatusCode(error), subject.empty()
                                                          ? absl::StrCat(call, ": ", text)
                                                          : absl::StrCat(call, " ", subject, ": ", text));
  status.SetPayload(kErrnoPayload, absl::Cord(absl::StrCat(error)));
  return status;
}

absl::Status ErrnoStatus(absl::string_view call, absl::string_view subject) {
  return ErrnoStatus(call, subject, errno);
}

int ErrnoOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kErrnoPayload);
  int error = 0;
  if (payload.has_value() && absl::SimpleAtoi(std::string(*payload), &error)) return error;
  return 0;
}

absl::Status Annotate(const absl::Status& status, absl::string_view context) {
  if (status.ok()) return status;
  return WithMessage(status, absl::StrCat(context, ": ", status.message()));
}

}  // namespace gantry::sys
