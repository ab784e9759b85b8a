#include "daemon/tasks/health_state.h"

#include <rapidjson/document.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/sys/status.h"

namespace gantry::tasks {
namespace {

constexpr size_t kLogLength = 5;  // Docker's
// Docker's lower limit; shorter ones keep the machine busy with nothing else.
constexpr absl::Duration kShortest = absl::Milliseconds(1);
constexpr int kMostRetries = 1000;

absl::Status Wrong(absl::string_view member, absl::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat(kHealthCheck, ": ", member, " ", rule));
}

absl::Status ReadDuration(const rapidjson::Value& object, const char* name, absl::Duration* out) {
  const auto member = object.FindMember(name);
  if (member == object.MemberEnd() || member->value.IsNull()) return absl::OkStatus();
  if (!member->value.IsInt64()) return Wrong(name, "must be a whole number of nanoseconds");
  const absl::Duration value = absl::Nanoseconds(member->value.GetInt64());
  if (value == absl::ZeroDuration()) return absl::OkStatus();  // Docker's way to say "the default"
  if (value < kShortest) return Wrong(name, "must be at least 1 ms");
  *out = value;
  return absl::OkStatus();
}

absl::Status ReadTest(const rapidjson::Value& object, std::vector<std::string>* command) {
  const auto test = object.FindMember("Test");
  if (test == object.MemberEnd() || test->value.IsNull()) return absl::OkStatus();
  if (!test->value.IsArray()) return Wrong("Test", "must be an array of strings");
  std::vector<std::string> words;
  for (const rapidjson::Value& word : test->value.GetArray()) {
    if (!word.IsString()) return Wrong("Test", "must be an array of strings");
    words.emplace_back(word.GetString(), word.GetStringLength());
  }
  if (words.empty() || words[0] == "NONE") return absl::OkStatus();
  if (words[0] == "CMD" && words.size() > 1) {
    command->assign(words.begin() + 1, words.end());
  } else if (words[0] == "CMD-SHELL" && words.size() == 2) {
    *command = {"/bin/sh", "-c", words[1]};
  } else {
    return Wrong("Test", "must be [\"NONE\"], [\"CMD\", PROGRAM, ARG...] or [\"CMD-SHELL\", COMMAND]");
  }
  return absl::OkStatus();
}

std::string Timestamp(absl::Time time) {
  return absl::FormatTime(absl::RFC3339_full, time, absl::UTCTimeZone());
}

using Writer = rapidjson::Writer<rapidjson::StringBuffer>;

void Text(Writer* writer, absl::string_view text) {
  writer->String(text.data(), static_cast<rapidjson::SizeType>(text.size()));
}

}  // namespace

absl::StatusOr<HealthConfig> ParseHealthConfig(absl::string_view json) {
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag>(json.data(), json.size());
  if (document.HasParseError() || !document.IsObject()) return Wrong("the value", "must be a JSON object");
  HealthConfig config;
  GANTRY_RETURN_IF_ERROR(ReadTest(document, &config.command));
  GANTRY_RETURN_IF_ERROR(ReadDuration(document, "Interval", &config.interval));
  GANTRY_RETURN_IF_ERROR(ReadDuration(document, "Timeout", &config.timeout));
  GANTRY_RETURN_IF_ERROR(ReadDuration(document, "StartPeriod", &config.start_period));
  GANTRY_RETURN_IF_ERROR(ReadDuration(document, "StartInterval", &config.start_interval));
  const auto retries = document.FindMember("Retries");
  if (retries != document.MemberEnd() && !retries->value.IsNull()) {
    if (!retries->value.IsInt() || retries->value.GetInt() < 0 || retries->value.GetInt() > kMostRetries) {
      return Wrong("Retries", absl::StrCat("must be a number from 0 to ", kMostRetries));
    }
    if (retries->value.GetInt() > 0) config.retries = retries->value.GetInt();
  }
  return config;
}

absl::StatusOr<std::string> HealthProcess(absl::string_view spec, const std::vector<std::string>& command) {
  rapidjson::Document document;
  document.Parse<rapidjson::kParseIterativeFlag>(spec.data(), spec.size());
  if (document.HasParseError() || !document.IsObject()) {
    return absl::InvalidArgumentError("the runtime specification is no JSON object");
  }
  const auto process = document.FindMember("process");
  if (process == document.MemberEnd() || !process->value.IsObject()) {
    return absl::InvalidArgumentError("the runtime specification has no process");
  }
  rapidjson::Value arguments(rapidjson::kArrayType);
  for (const std::string& word : command) {
    arguments.PushBack(
        rapidjson::Value(word.data(), static_cast<rapidjson::SizeType>(word.size()), document.GetAllocator()),
        document.GetAllocator());
  }
  for (const char* name : {"args", "terminal", "consoleSize"}) process->value.RemoveMember(name);
  process->value.AddMember("args", arguments, document.GetAllocator());
  rapidjson::StringBuffer buffer;
  Writer writer(buffer);
  process->value.Accept(writer);
  return std::string(buffer.GetString(), buffer.GetSize());
}

bool HealthState::Record(HealthResult result, absl::Duration age) {
  const Status before = status_;
  const int streak_before = failing_streak_;
  if (result.exit_code == 0) {
    failing_streak_ = 0;
    status_ = Status::kHealthy;
  } else if (!InStartPeriod(age)) {
    ++failing_streak_;
    if (failing_streak_ >= config_.retries) status_ = Status::kUnhealthy;
  }
  log_.push_back(std::move(result));
  if (log_.size() > kLogLength) log_.pop_front();
  const bool streak_matters = failing_streak_ != streak_before && failing_streak_ <= config_.retries;
  return status_ != before || streak_matters;
}

absl::Duration HealthState::Pause(absl::Duration age) const {
  return InStartPeriod(age) ? config_.start_interval : config_.interval;
}

absl::string_view HealthState::name() const {
  switch (status_) {
    case Status::kStarting:
      return "starting";
    case Status::kHealthy:
      return "healthy";
    case Status::kUnhealthy:
      break;
  }
  return "unhealthy";
}

std::string HealthState::ToJson() const {
  rapidjson::StringBuffer buffer;
  Writer writer(buffer);
  writer.StartObject();
  writer.Key("Status");
  Text(&writer, name());
  writer.Key("FailingStreak");
  writer.Int(failing_streak_);
  writer.Key("Log");
  writer.StartArray();
  for (const HealthResult& result : log_) {
    writer.StartObject();
    writer.Key("Start");
    Text(&writer, Timestamp(result.start));
    writer.Key("End");
    Text(&writer, Timestamp(result.end));
    writer.Key("ExitCode");
    writer.Int(result.exit_code);
    writer.Key("Output");
    Text(&writer, result.output);
    writer.EndObject();
  }
  writer.EndArray();
  writer.EndObject();
  return std::string(buffer.GetString(), buffer.GetSize());
}

}  // namespace gantry::tasks
