#include "cmd/gantry/run/health.h"

#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "runtime/sys/status.h"

namespace gantry::cli {
namespace {

// The daemon's limit for a label, its key included.
constexpr size_t kMaxLabelBytes = 4096;

// The image's Healthcheck, or an empty object. An image's configuration is data of strangers: what does not fit is
// left to the daemon to refuse.
rapidjson::Document FromImage(absl::string_view image_config) {
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag>(image_config.data(), image_config.size());
  rapidjson::Document check(rapidjson::kObjectType);
  if (document.HasParseError() || !document.IsObject()) return check;
  const auto config = document.FindMember("config");
  if (config == document.MemberEnd() || !config->value.IsObject()) return check;
  const auto found = config->value.FindMember("Healthcheck");
  if (found != config->value.MemberEnd() && found->value.IsObject()) {
    check.CopyFrom(found->value, check.GetAllocator());
  }
  return check;
}

void Set(rapidjson::Document* check, const char* name, rapidjson::Value value) {
  check->RemoveMember(name);
  check->AddMember(rapidjson::StringRef(name), value, check->GetAllocator());
}

absl::Status SetDuration(rapidjson::Document* check, const char* name, const char* flag,
                         const std::string& text) {
  if (text.empty()) return absl::OkStatus();
  absl::Duration value;
  if (!absl::ParseDuration(text, &value) || value < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat(flag, " \"", text, "\": a time is needed, such as 30s or 1m30s"));
  }
  if (value > absl::ZeroDuration() && value < absl::Milliseconds(1)) {
    return absl::InvalidArgumentError(absl::StrCat(flag, " \"", text, "\": must be at least 1ms"));
  }
  Set(check, name, rapidjson::Value(absl::ToInt64Nanoseconds(value)));
  return absl::OkStatus();
}

absl::Status SetRetries(rapidjson::Document* check, const std::string& text) {
  if (text.empty()) return absl::OkStatus();
  int retries = 0;
  if (!absl::SimpleAtoi(text, &retries) || retries < 0 || retries > 1000) {
    return absl::InvalidArgumentError(
        absl::StrCat("--health-retries \"", text, "\": a number from 0 to 1000 is needed"));
  }
  Set(check, "Retries", rapidjson::Value(retries));
  return absl::OkStatus();
}

void SetCommand(rapidjson::Document* check, const std::string& command) {
  if (command.empty()) return;
  auto& allocator = check->GetAllocator();
  rapidjson::Value test(rapidjson::kArrayType);
  test.PushBack("CMD-SHELL", allocator);
  test.PushBack(rapidjson::Value(command.data(), static_cast<rapidjson::SizeType>(command.size()), allocator),
                allocator);
  Set(check, "Test", std::move(test));
}

bool Checks(const rapidjson::Document& check) {
  const auto test = check.FindMember("Test");
  if (test == check.MemberEnd() || !test->value.IsArray() || test->value.Empty()) return false;
  const rapidjson::Value& first = test->value[0];
  return !first.IsString() || absl::string_view(first.GetString()) != "NONE";
}

}  // namespace

absl::StatusOr<std::string> HealthCheckOf(absl::string_view image_config, const RunOptions& options) {
  const bool typed = !options.health_cmd.empty() || !options.health_interval.empty() ||
                     !options.health_timeout.empty() || !options.health_start_period.empty() ||
                     !options.health_start_interval.empty() || !options.health_retries.empty();
  if (options.no_health_check) {
    if (!typed) return std::string();
    return absl::InvalidArgumentError("--no-healthcheck and the --health flags exclude each other");
  }
  rapidjson::Document check = FromImage(image_config);
  SetCommand(&check, options.health_cmd);
  GANTRY_RETURN_IF_ERROR(SetDuration(&check, "Interval", "--health-interval", options.health_interval));
  GANTRY_RETURN_IF_ERROR(SetDuration(&check, "Timeout", "--health-timeout", options.health_timeout));
  GANTRY_RETURN_IF_ERROR(
      SetDuration(&check, "StartPeriod", "--health-start-period", options.health_start_period));
  GANTRY_RETURN_IF_ERROR(
      SetDuration(&check, "StartInterval", "--health-start-interval", options.health_start_interval));
  GANTRY_RETURN_IF_ERROR(SetRetries(&check, options.health_retries));
  if (!Checks(check)) {
    if (!typed) return std::string();
    return absl::InvalidArgumentError("the image has no health check to change; give --health-cmd");
  }
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer> writer(buffer);
  check.Accept(writer);
  std::string value(buffer.GetString(), buffer.GetSize());
  if (value.size() + sizeof(kHealthCheckLabel) > kMaxLabelBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("the health check has ", value.size(), " bytes, the daemon takes ",
                     kMaxLabelBytes - sizeof(kHealthCheckLabel), "; put it into a script in the image"));
  }
  return value;
}

}  // namespace gantry::cli
