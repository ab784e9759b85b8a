#include "shim/task/exit_record.h"

#include <fcntl.h>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "runtime/sys/file.h"
#include "runtime/sys/status.h"

namespace gantry::shim {
namespace {

constexpr size_t kMaxBytes = 4096;

// The text after `"name":`, up to the next comma or brace, without quotes.
absl::string_view Member(absl::string_view json, absl::string_view name) {
  const std::string key = absl::StrCat("\"", name, "\":");
  const size_t at = json.find(key);
  if (at == absl::string_view::npos) return "";
  absl::string_view value = json.substr(at + key.size());
  value = value.substr(0, value.find_first_of(",}"));
  if (absl::StartsWith(value, "\"") && absl::EndsWith(value, "\"") && value.size() >= 2) {
    value = value.substr(1, value.size() - 2);
  }
  return value;
}

}  // namespace

std::string FormatExitRecord(const ExitRecord& record) {
  const absl::TimeZone utc = absl::UTCTimeZone();
  const absl::CivilSecond second = absl::ToCivilSecond(record.exited_at, utc);
  const int64_t nanos = absl::ToInt64Nanoseconds(record.exited_at - absl::FromCivil(second, utc));
  return absl::StrFormat(
      "{\"pid\":%d,\"exit_status\":%d,\"exited_at\":\"%04d-%02d-%02dT%02d:%02d:%02d.%09dZ\"}\n", record.pid,
      record.status, second.year(), second.month(), second.day(), second.hour(), second.minute(),
      second.second(), nanos);
}

absl::StatusOr<ExitRecord> ParseExitRecord(absl::string_view text) {
  ExitRecord record;
  std::string error;
  if (!absl::SimpleAtoi(Member(text, "pid"), &record.pid) ||
      !absl::SimpleAtoi(Member(text, "exit_status"), &record.status) ||
      !absl::ParseTime(absl::RFC3339_full, Member(text, "exited_at"), &record.exited_at, &error)) {
    return absl::DataLossError("exit: not a record of pid, exit_status and exited_at");
  }
  return record;
}

absl::Status WriteExitRecord(const std::string& bundle, const ExitRecord& record) {
  return sys::WriteFileAtomic(AT_FDCWD, bundle + "/exit", FormatExitRecord(record), 0600,
                              sys::Durability::kVolatile);
}

absl::StatusOr<ExitRecord> ReadExitRecord(const std::string& bundle) {
  GANTRY_ASSIGN_OR_RETURN(const std::string text, sys::ReadFileAt(AT_FDCWD, bundle + "/exit", kMaxBytes));
  return ParseExitRecord(text);
}

}  // namespace gantry::shim
